package compressor

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/compression"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated compressor.v3.Compressor.
type Config struct {
	Library           string // the extension's name, for statistics
	Settings          compression.Settings
	ChooseFirst       bool
	Request, Response side
	// Directions: the configuration names directions, and so do the statistics.
	Directions bool

	DisableOnETag, WeakenETag bool
	RemoveAcceptEncoding      bool
	Uncompressible            []int // response codes
}

// side is what holds for one direction.
type side struct {
	Enabled   xdsresource.Flag
	MinLength int
	Types     []string // content types without parameters, lower case
	Matchers  []xdsresource.StringMatch
}

// RouteConfig is a validated CompressorPerRoute.
type RouteConfig struct {
	Disabled             bool
	RemoveAcceptEncoding *bool
}

// defaultTypes are the content types that Envoy compresses.
var defaultTypes = strings.Fields(`application/javascript application/json application/xhtml+xml image/svg+xml text/css
	text/html text/plain text/xml`)

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &compressorv3.Compressor{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{Library: m.GetCompressorLibrary().GetName(), ChooseFirst: m.GetChooseFirst()}
	c.Settings = library(r, m.GetCompressorLibrary())
	resp := m.GetResponseDirectionConfig()
	if resp == nil {
		// The older form has the response's fields at the top.
		resp = &compressorv3.Compressor_ResponseDirectionConfig{
			CommonConfig: &compressorv3.Compressor_CommonDirectionConfig{
				Enabled: m.GetRuntimeEnabled(), MinContentLength: m.GetContentLength(), ContentType: m.GetContentType(),
			},
			DisableOnEtagHeader:        m.GetDisableOnEtagHeader(),
			RemoveAcceptEncodingHeader: m.GetRemoveAcceptEncodingHeader(),
		}
	}
	c.Directions = m.GetResponseDirectionConfig() != nil || m.GetRequestDirectionConfig() != nil
	c.Response = parseSide(r, "response_direction_config.common_config", resp.GetCommonConfig(), true)
	c.DisableOnETag, c.WeakenETag = resp.GetDisableOnEtagHeader(), resp.GetWeakenEtagOnCompress()
	c.RemoveAcceptEncoding = resp.GetRemoveAcceptEncodingHeader()
	for _, code := range resp.GetUncompressibleResponseCodes() {
		c.Uncompressible = append(c.Uncompressible, int(code))
	}
	if q := m.GetRequestDirectionConfig(); q != nil {
		c.Request = parseSide(r, "request_direction_config.common_config", q.GetCommonConfig(), false)
	}
	return c, r.Err()
}

func parseSide(r *xdsresource.FilterReader, path string, m *compressorv3.Compressor_CommonDirectionConfig, def bool) side {
	s := side{Enabled: r.RuntimeFlag(m.GetEnabled(), def), MinLength: 30}
	if n := m.GetMinContentLength(); n != nil {
		s.MinLength = int(n.GetValue())
	}
	for _, t := range m.GetContentType() {
		s.Types = append(s.Types, strings.ToLower(t))
	}
	for i, t := range m.GetContentTypeMatcher() {
		s.Matchers = append(s.Matchers, r.StringMatch(fmt.Sprintf("%s.content_type_matcher[%d]", path, i), t))
	}
	if len(s.Types) == 0 && len(s.Matchers) == 0 {
		s.Types = defaultTypes
	}
	return s
}

// library reads what compresses.
func library(r *xdsresource.FilterReader, x *corev3.TypedExtensionConfig) compression.Settings {
	const path = "compressor_library.typed_config"
	var s compression.Settings
	switch a := x.GetTypedConfig(); string(a.MessageName()) {
	case "envoy.extensions.compression.gzip.compressor.v3.Gzip":
		m := &gzipv3.Gzip{}
		r.Unpack(path, a, m)
		s.Encoding, s.Level = compression.Gzip, int(m.GetCompressionLevel())
	case "envoy.extensions.compression.brotli.compressor.v3.Brotli":
		m := &brotliv3.Brotli{}
		r.Unpack(path, a, m)
		s.Encoding, s.Level, s.Window = compression.Brotli, int(m.GetQuality().GetValue()), int(m.GetWindowBits().GetValue())
	case "envoy.extensions.compression.zstd.compressor.v3.Zstd":
		m := &zstdv3.Zstd{}
		r.Unpack(path, a, m)
		s.Encoding, s.Level, s.Checksum = compression.Zstd, int(m.GetCompressionLevel().GetValue()), m.GetEnableChecksum()
	default:
		r.Bad(path, "type %s is not supported; gzip, brotli and zstd are", a.MessageName())
		return s
	}
	if err := s.Check(); err != nil {
		r.Bad(path, "%v", err)
	}
	return s
}

// ParseRouteConfig reads a CompressorPerRoute. It returns a *RouteConfig.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &compressorv3.CompressorPerRoute{}
	r := d.ReadFilter(Name, a, m)
	c := &RouteConfig{Disabled: m.GetDisabled()}
	if v := m.GetOverrides().GetResponseDirectionConfig().GetRemoveAcceptEncodingHeader(); v != nil {
		b := v.GetValue()
		c.RemoveAcceptEncoding = &b
	}
	return c, r.Err()
}

// takes reports whether a content type is one to compress; none is.
func (s *side) takes(contentType []byte) bool {
	t, _, _ := strings.Cut(string(contentType), ";")
	t = strings.ToLower(strings.TrimSpace(t))
	if t == "" || slices.Contains(s.Types, t) {
		return true
	}
	for i := range s.Matchers {
		if s.Matchers[i].Match(t) {
			return true
		}
	}
	return false
}
