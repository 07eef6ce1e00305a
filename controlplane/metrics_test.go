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
// (https://grafana.com/grafana/dashboards/7645-istio-control-plane-dashboard/), and others of Istio's, with what they must have counted.
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
		"pilot_total_xds_internal_errors 0", "citadel_server_root_cert_expiry_timestamp ", `xds_cache_reads{type="hit"} `, `xds_cache_reads{type="miss"} `,
		"pilot_eds_no_instances 1", "pilot_no_ip 0", "process_cpu_seconds_total ", "go_goroutines ",
	} {
		var page string
		if err := waitFor(ctx, func() bool { _, page = r.page("/metrics"); return strings.Contains(page, "\n"+want) }); err != nil {
			t.Fatalf("there is no %q:\n%s", want, page)
		}
	}
}

// istiodMetrics are all metrics that istiod shows, of today's (istio.io, reference of pilot-discovery, and the places in its source that register any), without
// those that Go's and Prometheus' own collectors show; with each that is not here goes the reason.
var istiodMetrics = map[string]string{
	"auto_registration_deletes_total":             "",
	"auto_registration_errors_total":              "",
	"auto_registration_success_total":             "",
	"auto_registration_unregister_total":          "",
	"auto_registration_updates_total":             "",
	"citadel_server_authentication_failure_count": "",
	"citadel_server_cert_chain_expiry_seconds":    "",
	"citadel_server_cert_chain_expiry_timestamp":  "",
	"citadel_server_csr_count":                    "",
	"citadel_server_csr_parsing_err_count":        "",
	"citadel_server_csr_sign_err_count":           "",
	"citadel_server_id_extraction_err_count":      "",
	"citadel_server_root_cert_expiry_seconds":     "",
	"citadel_server_root_cert_expiry_timestamp":   "",
	"citadel_server_success_cert_issuance_count":  "",
	"istio_build":                     "",
	"istiod_uptime_seconds":           "",
	"pilot_conflict_inbound_listener": "",
	"pilot_conflict_outbound_listener_tcp_over_current_tcp": "",
	"pilot_debounce_time":                 "",
	"pilot_destrule_subsets":              "",
	"pilot_dns_cluster_without_endpoints": "",
	"pilot_duplicate_envoy_clusters":      "",
	"pilot_eds_no_instances":              "",
	"pilot_endpoint_not_ready":            "",
	"pilot_inbound_updates":               "",
	"pilot_info":                          "",
	"pilot_k8s_cfg_events":                "",
	"pilot_no_ip":                         "",
	"pilot_proxy_convergence_time":        "",
	"pilot_proxy_queue_time":              "",
	"pilot_push_triggers":                 "",
	"pilot_pushcontext_init_seconds":      "",
	"pilot_services":                      "",
	"pilot_total_xds_internal_errors":     "",
	"pilot_total_xds_rejects":             "",
	"pilot_virt_services":                 "",
	"pilot_vservice_dup_domain":           "",
	"pilot_xds":                           "",
	"pilot_xds_cds_reject":                "",
	"pilot_xds_config_size_bytes":         "",
	"pilot_xds_eds_reject":                "",
	"pilot_xds_expired_nonce":             "",
	"pilot_xds_lds_reject":                "",
	"pilot_xds_push_time":                 "",
	"pilot_xds_pushes":                    "",
	"pilot_xds_rds_reject":                "",
	"pilot_xds_send_time":                 "",
	"xds_cache_reads":                     "",
	"xds_cache_size":                      "",

	"controller_sync_errors_total":                           kubernetes,
	"endpoint_no_pod":                                        kubernetes,
	"istiod_managed_clusters":                                kubernetes,
	"pilot_k8s_endpoints_pending_pod":                        kubernetes,
	"pilot_k8s_endpoints_with_no_pods":                       kubernetes,
	"pilot_k8s_object_errors":                                kubernetes,
	"pilot_k8s_reg_events":                                   kubernetes,
	"pilot_worker_queue_depth":                               kubernetes,
	"pilot_worker_queue_duration":                            kubernetes,
	"pilot_worker_queue_latency":                             kubernetes,
	"provider_lookup_cluster_failures":                       kubernetes,
	"remote_cluster_sync_status":                             kubernetes,
	"remote_cluster_sync_timeouts_total":                     kubernetes,
	"galley_validation_config_delete_error":                  webhook,
	"galley_validation_config_load":                          webhook,
	"galley_validation_config_load_error":                    webhook,
	"galley_validation_config_update_error":                  webhook,
	"galley_validation_config_updates":                       webhook,
	"galley_validation_failed":                               webhook,
	"galley_validation_http_error":                           webhook,
	"galley_validation_passed":                               webhook,
	"sidecar_injection_failure_total":                        webhook,
	"sidecar_injection_requests_total":                       webhook,
	"sidecar_injection_skip_total":                           webhook,
	"sidecar_injection_success_total":                        webhook,
	"sidecar_injection_time_seconds":                         webhook,
	"webhook_patch_attempts_total":                           webhook,
	"webhook_patch_failures_total":                           webhook,
	"webhook_patch_retries_total":                            webhook,
	"pilot_conflict_outbound_listener_http_over_current_tcp": "requests and bytes share a listener, which tells them apart: they cannot be in conflict. Istio has dropped it too",
	"pilot_conflict_outbound_listener_tcp_over_current_http": "requests and bytes share a listener, which tells them apart: they cannot be in conflict. Istio has dropped it too",
	"pilot_sds_certificate_errors_total":                     "certificates of gateways are read with the other objects, not when a proxy asks: /debug/errors names those that cannot be used",
	"pilot_total_rejected_configs":                           "it counts one conflict again in each push; /debug/errors names what does not count",
	"pilot_xds_delayed_push_timeouts_total":                  "nothing is pushed before it is acknowledged, so there is nothing to time out. Istio has dropped it too",
	"pilot_xds_delayed_pushes_total":                         "nothing is pushed before it is acknowledged, which is what it counted. Istio has dropped it too",
	"pilot_xds_push_context_errors":                          "a snapshot is made or it is a fault of the program; Istio, where it counted time-outs, has dropped it too",
	"pilot_xds_write_timeout":                                "a proxy that does not read is ended by gRPC's keepalive. Istio has dropped it too",
	"xds_cache_dependent_config_size":                        "what is cached is found by what it was made of; there is no index of that",
	"xds_cache_evictions":                                    "what no proxy has any longer goes by garbage collection, which does not count it",
}

const (
	kubernetes = "it is about Kubernetes' API, which this control plane does not watch yet"
	webhook    = "webhooks are Kubernetes'"
)

// TestIstiodMetrics holds the list against what is shown once everything has happened that makes a series.
func TestIstiodMetrics(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	refuse := func(string, []string) string { return "no" }
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t), Refuse: refuse})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var page string
	shown := func(name string) bool { return strings.Contains(page, "\n# TYPE "+name+" ") }
	if err := waitFor(ctx, func() bool {
		_, page = r.page("/metrics")
		return shown("pilot_total_xds_rejects") && shown("pilot_xds_push_time")
	}); err != nil {
		t.Fatal(err)
	}
	for name, reason := range istiodMetrics {
		if shown(name) != (reason == "") {
			t.Errorf("%s is shown: %v; in the list: %q", name, shown(name), reason)
		}
	}
}
