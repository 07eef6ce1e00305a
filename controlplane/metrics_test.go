package controlplane

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// TestMetrics looks for series that Istio's dashboard of the control plane draws
// (https://grafana.com/grafana/dashboards/7645-istio-control-plane-dashboard/), and others of Istio's, with what they must have counted. Of the
// dashboard's there are none yet of pilot_k8s_reg_events, pilot_xds_push_context_errors and of webhooks.
func TestMetrics(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const more = "apiVersion: v1\nkind: Service\nmetadata: {name: more, namespace: shop}\nspec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 80}]}\n"
	if err := c.Until(ctx, func(s xdstest.State) bool { return s[xdstest.LDS] != nil }); err != nil {
		t.Fatal(err)
	}
	r.write("config/more.yaml", more)
	if err := c.Until(ctx, func(s xdstest.State) bool { return s[xdstest.CDS]["outbound|80||more.shop.svc.cluster.local"] != nil }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`istio_build{component="pilot",tag="`, `pilot_info{version="`, "pilot_services 2", "pilot_virt_services 0", `pilot_xds{version="1.24.1"} 1`,
		`pilot_xds_pushes{type="cds"} `, `pilot_xds_pushes{type="eds"} `, `pilot_xds_pushes{type="lds"} `,
		`pilot_xds_push_time_bucket{type="cds",le="0.01"} `, "pilot_xds_send_time_count ", `pilot_xds_config_size_bytes_count{type="cds"} `,
		"pilot_proxy_queue_time_count 1", "pilot_proxy_convergence_time_count ", "pilot_debounce_time_count ", "pilot_pushcontext_init_seconds_count ",
		`pilot_push_triggers{type="service"} `, `pilot_push_triggers{type="endpoint"} `, `pilot_inbound_updates{type="svc"} 2`, `pilot_inbound_updates{type="eds"} 1`,
		`pilot_k8s_cfg_events{event="update",type="Service"} 2`, "pilot_xds_cds_reject 0", "pilot_xds_lds_reject 0", "pilot_xds_eds_reject 0", "pilot_xds_rds_reject 0",
		"pilot_total_xds_internal_errors 0", "citadel_server_root_cert_expiry_timestamp ", "process_cpu_seconds_total ", "go_goroutines ",
	} {
		var page string
		if err := waitFor(ctx, func() bool { _, page = r.page("/metrics"); return strings.Contains(page, "\n"+want) }); err != nil {
			t.Fatalf("there is no %q:\n%s", want, page)
		}
	}
}
