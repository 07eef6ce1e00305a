// Package extauthz speaks Envoy's protocol of external authorization
// (envoy.service.auth.v3.Authorization) for the filters of that name: what a check says about
// the two ends of a connection, and the call itself over the proxy's own client.
//
// It decides nothing, and knows neither of the filters: httpfilter/extauthz and
// networkfilter/extauthz, which alone import it, fill the rest of the request and judge the answer.
package extauthz
