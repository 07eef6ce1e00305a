package validate

import (
	"net/url"
	"strconv"

	extensions "istio.io/api/extensions/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"github.com/lateen-mesh/lateen/pkg/cel"
)

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func atou(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return n, err == nil
}

func telemetryPolicy(c *checker, root *field.Path, spec any) {
	t := spec.(*telemetry.Telemetry)
	c.selector(root.Child("selector"), t.Selector)
	c.targetRefs(root, t.TargetRef, t.TargetRefs, t.Selector)
	providers := func(p *field.Path, list []*telemetry.ProviderRef) {
		for i, r := range list {
			if r.GetName() == "" {
				c.add(p.Child("providers").Index(i).Child("name"), "missing; name a provider such as envoy")
			}
		}
	}
	if len(t.Tracing) > 1 {
		c.add(root.Child("tracing"), "has %d elements; only one is supported", len(t.Tracing))
	}
	for i, tr := range t.Tracing {
		at := root.Child("tracing").Index(i)
		providers(at, tr.Providers)
		if len(tr.Providers) > 1 {
			c.add(at.Child("providers"), "has %d elements; only one is supported", len(tr.Providers))
		}
		if v := tr.RandomSamplingPercentage; v != nil {
			c.percent(at.Child("randomSamplingPercentage"), v.Value)
		}
		for name, tag := range tr.CustomTags {
			tat := at.Child("customTags", name)
			switch tt := tag.GetType().(type) {
			case nil:
				c.add(tat, "says nothing; set literal, environment, header or formatter")
			case *telemetry.Tracing_CustomTag_Literal:
				if tt.Literal.GetValue() == "" {
					c.add(tat.Child("literal", "value"), "missing")
				}
			case *telemetry.Tracing_CustomTag_Environment:
				if tt.Environment.GetName() == "" {
					c.add(tat.Child("environment", "name"), "missing; name a variable")
				}
			case *telemetry.Tracing_CustomTag_Header:
				c.header(tat.Child("header", "name"), tt.Header.GetName())
			}
		}
	}
	for i, m := range t.Metrics {
		at := root.Child("metrics").Index(i)
		providers(at, m.Providers)
		c.duration(at.Child("reportingInterval"), m.ReportingInterval, atLeastMillisecond)
		for j, o := range m.Overrides {
			for name, tag := range o.TagOverrides {
				tat := at.Child("overrides").Index(j).Child("tagOverrides", name)
				switch tag.GetOperation() {
				case telemetry.MetricsOverrides_TagOverride_UPSERT:
					if tag.GetValue() == "" {
						c.add(tat.Child("value"), "missing; operation UPSERT needs one")
					}
				case telemetry.MetricsOverrides_TagOverride_REMOVE:
					if tag.GetValue() != "" {
						c.add(tat.Child("value"), "has no meaning with operation REMOVE; remove it")
					}
				}
			}
		}
	}
	for i, l := range t.AccessLogging {
		at := root.Child("accessLogging").Index(i)
		providers(at, l.Providers)
		if l.Filter == nil {
			continue
		}
		expression := at.Child("filter", "expression")
		if l.Filter.Expression == "" {
			c.add(expression, "missing; write a CEL expression such as response.code >= 400")
		} else if _, err := cel.Compile(l.Filter.Expression, nil); err != nil {
			c.add(expression, "%q is no expression that a proxy takes: %v", l.Filter.Expression, err)
		}
	}
}

func wasmPlugin(c *checker, root *field.Path, spec any) {
	w := spec.(*extensions.WasmPlugin)
	c.selector(root.Child("selector"), w.Selector)
	c.targetRefs(root, w.TargetRef, w.TargetRefs, w.Selector)
	c.wasm(root, w.Url, w.Sha256, w.VmConfig)
}

func trafficExtension(c *checker, root *field.Path, spec any) {
	t := spec.(*extensions.TrafficExtension)
	c.selector(root.Child("selector"), t.Selector)
	c.targetRefs(root, nil, t.TargetRefs, t.Selector)
	switch {
	case t.GetWasm() != nil:
		c.wasm(root.Child("wasm"), t.GetWasm().Url, t.GetWasm().Sha256, t.GetWasm().VmConfig)
	case t.GetLua() != nil:
		if t.GetLua().InlineCode == "" {
			c.add(root.Child("lua", "inlineCode"), "missing; write the script")
		}
	default:
		c.add(root, "no extension; set wasm or lua")
	}
}

func (c *checker) wasm(p *field.Path, link, sha string, vm *extensions.VmConfig) {
	if link == "" {
		c.add(p.Child("url"), "missing; say where the module is, such as oci://registry/image:tag")
	} else if u, err := url.Parse(link); err != nil {
		c.add(p.Child("url"), "%q is not a URL", link)
	} else if !contains([]string{"", "file", "http", "https", "oci"}, u.Scheme) {
		c.add(p.Child("url"), "scheme %q is not supported; use oci, https, http or file", u.Scheme)
	}
	if sha != "" && len(sha) != 64 {
		c.add(p.Child("sha256"), "%d characters; a SHA-256 sum has 64", len(sha))
	}
	seen := map[string]bool{}
	for i, e := range vm.GetEnv() {
		at := p.Child("vmConfig", "env").Index(i)
		switch {
		case e.Name == "":
			c.add(at.Child("name"), "missing; a variable needs a name")
		case seen[e.Name]:
			c.add(at.Child("name"), "%q is given twice; remove one", e.Name)
		}
		seen[e.Name] = true
		if e.ValueFrom == extensions.EnvValueSource_HOST && e.Value != "" {
			c.add(at.Child("value"), "has no meaning with valueFrom HOST; remove it")
		}
	}
}
