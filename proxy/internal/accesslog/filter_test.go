package accesslog

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestFurtherFilters(t *testing.T) {
	grpc := func(status string) *format.Context {
		c := &format.Context{Request: &header.Map{}, Response: &header.Map{}, Info: &streaminfo.Info{ResponseCode: 200}}
		c.Request.AddName("content-type", []byte("application/grpc"))
		if status != "" {
			c.Response.AddName("grpc-status", []byte(status))
		}
		return c
	}
	meta := func(v any) *format.Context {
		c := &format.Context{Info: &streaminfo.Info{}}
		if v != nil {
			c.Info.SetMetadata("f", "k", v)
		}
		return c
	}
	typed := func(l format.LogType) *format.Context { return &format.Context{Info: &streaminfo.Info{}, LogType: l} }
	matcher := xdsresource.MetadataMatcher{Filter: "f", Path: []string{"k"}, Value: xdsresource.ValueMatch{Kind: xdsresource.ValueString, String: &xdsresource.StringMatch{Value: "yes"}}}
	inverted := matcher
	inverted.Invert = true
	for _, tt := range []struct {
		name string
		cfg  xdsresource.AccessLogFilter
		c    *format.Context
		want bool
	}{
		{"status is listed", xdsresource.AccessLogFilter{GRPCStatus: &xdsresource.GRPCStatusFilter{Statuses: []int{5, 14}}}, grpc("14"), true},
		{"status is not listed", xdsresource.AccessLogFilter{GRPCStatus: &xdsresource.GRPCStatusFilter{Statuses: []int{5}}}, grpc("0"), false},
		{"status is excluded", xdsresource.AccessLogFilter{GRPCStatus: &xdsresource.GRPCStatusFilter{Statuses: []int{0}, Exclude: true}}, grpc("0"), false},
		{"no status counts as unknown", xdsresource.AccessLogFilter{GRPCStatus: &xdsresource.GRPCStatusFilter{Statuses: []int{2}}}, grpc(""), true},
		{"type is listed", xdsresource.AccessLogFilter{LogType: &xdsresource.LogTypeFilter{Types: []uint8{6}}}, typed(format.DownstreamEnd), true},
		{"type is excluded", xdsresource.AccessLogFilter{LogType: &xdsresource.LogTypeFilter{Types: []uint8{6}, Exclude: true}}, typed(format.DownstreamEnd), false},
		{"metadata matches", xdsresource.AccessLogFilter{Metadata: &xdsresource.MetadataFilter{Matcher: matcher}}, meta("yes"), true},
		{"metadata differs", xdsresource.AccessLogFilter{Metadata: &xdsresource.MetadataFilter{Matcher: matcher}}, meta("no"), false},
		{"metadata is no string", xdsresource.AccessLogFilter{Metadata: &xdsresource.MetadataFilter{Matcher: matcher}}, meta(1.0), false},
		{"metadata is inverted", xdsresource.AccessLogFilter{Metadata: &xdsresource.MetadataFilter{Matcher: inverted}}, meta("no"), true},
		{"metadata is missing", xdsresource.AccessLogFilter{Metadata: &xdsresource.MetadataFilter{Matcher: matcher}}, meta(nil), false},
		{"metadata may be missing", xdsresource.AccessLogFilter{Metadata: &xdsresource.MetadataFilter{Matcher: matcher, MatchIfMissing: true}}, meta(nil), true},
		{"an expression is true", xdsresource.AccessLogFilter{CEL: "response.code >= 200 && response.code < 300"}, grpc(""), true},
		{"an expression is false", xdsresource.AccessLogFilter{CEL: "response.code >= 500"}, grpc(""), false},
		{"an expression has no value", xdsresource.AccessLogFilter{CEL: "request.headers['x-none'] == 'a'"}, grpc(""), false},
		{"an expression is no boolean", xdsresource.AccessLogFilter{CEL: "'true'"}, grpc(""), false},
	} {
		f, err := NewFilter(&tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Pass(tt.c); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestBadExpression(t *testing.T) {
	for _, in := range []string{"response.code >", "[1].exists(x, true)", "upstream.num_endpoints > 1"} {
		if _, err := NewFilter(&xdsresource.AccessLogFilter{CEL: in}); err == nil || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v", in, err)
		}
	}
}
