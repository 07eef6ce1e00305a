// Package bootstrap reads Envoy's bootstrap: the YAML or JSON file that says who the proxy is, what it serves without a control plane,
// and where its control plane answers.
//
// Parse turns text into the proto and reports every unknown field and every unknown extension by its path, all of them at once; Load
// judges the proto with xdsresource's decoder. Neither opens a socket or builds a live object. Only proxy and server import it.
package bootstrap
