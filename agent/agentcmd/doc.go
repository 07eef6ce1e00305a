// Package agentcmd holds the commands `sidecar` and `router` that `lateen proxy` and `lateen-proxy` share: flags and Istio's
// environment variables in, an agent with a proxy in its process out.
//
// The flags are pilot-agent's where it has them (--domain, --serviceCluster, --concurrency, --proxyLogLevel, --log_output_level), and so are the
// variables (POD_NAME, POD_NAMESPACE, INSTANCE_IP, SERVICE_ACCOUNT, TRUST_DOMAIN, CA_ADDR, PROXY_CONFIG, those of certificates in certificate.go,
// ISTIO_META_*, ISTIO_METAJSON_*). A flag wins over a variable. The proxy is given as a function, so that the package imports no proxy. Only
// proxy/proxycmd imports it.
package agentcmd
