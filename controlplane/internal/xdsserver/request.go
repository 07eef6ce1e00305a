package xdsserver

import (
	"fmt"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// Bounds on what one client may ask; beyond them its stream ends.
const (
	// maxRequestBytes is the largest request. A reconnecting proxy with 10,000 clusters states about 1 MB of versions.
	maxRequestBytes = 8 << 20
	// maxTypes is how many types one stream may watch.
	maxTypes = 32
	// maxNames is how many names one stream may subscribe to in one type.
	maxNames = 100_000
	// maxNameBytes is the longest name.
	maxNameBytes = 4 << 10
	// maxErrorText is how much of a refusal's text is kept.
	maxErrorText = 4 << 10
)

// request is one message of a client, in the terms that both variants share.
type request struct {
	typeURL string
	// nonce is that of the response it answers, "" for none.
	nonce string
	// refusal is the error text of a NACK, "" for none.
	refusal string

	// Delta: what is added to and taken from the subscription, and what the client has from before.
	subscribe, unsubscribe []string
	initial                []xdscache.Stated

	// SotW: the whole subscription, and the version that the client has.
	names   []string
	version string
}

func fromSotW(r *discoverypb.DiscoveryRequest) (request, error) {
	req := request{typeURL: r.GetTypeUrl(), nonce: r.GetResponseNonce(), names: r.GetResourceNames(), version: r.GetVersionInfo()}
	if r.GetErrorDetail() != nil {
		req.refusal = refusalText(r.GetErrorDetail().GetMessage())
	}
	return req, checkNames(req.names)
}

func refusalText(s string) string {
	if s == "" {
		return "refused without a reason"
	}
	if len(s) > maxErrorText {
		return s[:maxErrorText] + "..."
	}
	return s
}

func checkCount(n int) error {
	if n > maxNames {
		return fmt.Errorf("request names %d resources and may name %d", n, maxNames)
	}
	return nil
}

func checkNames(names []string) error {
	for _, n := range names {
		if len(n) > maxNameBytes {
			return fmt.Errorf("request has a resource name of %d bytes, and %d are allowed", len(n), maxNameBytes)
		}
	}
	return checkCount(len(names))
}
