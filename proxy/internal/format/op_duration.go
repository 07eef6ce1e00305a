package format

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// timePoints are the moments of a stream that COMMON_DURATION knows, by their names in Envoy.
var timePoints = map[string]func(*streaminfo.Info) int64{
	"DS_RX_BEG": func(i *streaminfo.Info) int64 { return i.Start },
	"DS_RX_END": func(i *streaminfo.Info) int64 { return i.RequestEnd },
	"US_CX_BEG": func(i *streaminfo.Info) int64 { return i.UpstreamConnect },
	"US_CX_END": func(i *streaminfo.Info) int64 { return i.UpstreamConnected },
	"US_HS_END": func(i *streaminfo.Info) int64 {
		if !i.UpstreamTLS {
			return 0
		}
		return i.UpstreamConnected
	},
	"US_TX_BEG": func(i *streaminfo.Info) int64 { return i.UpstreamTxFirst },
	"US_TX_END": func(i *streaminfo.Info) int64 { return i.UpstreamTxLast },
	"US_RX_BEG": func(i *streaminfo.Info) int64 { return i.UpstreamRxFirst },
	"US_RX_END": func(i *streaminfo.Info) int64 { return i.UpstreamRxLast },
	"DS_TX_BEG": func(i *streaminfo.Info) int64 { return i.ResponseStart },
	"DS_TX_END": func(i *streaminfo.Info) int64 { return i.ResponseEnd },
}

// newCommonDuration compiles COMMON_DURATION(START:END:PRECISION).
func newCommonDuration(arg string) (operator, error) {
	parts := strings.Split(arg, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return nil, fmt.Errorf("wants START:END:PRECISION in parentheses, not %q", arg)
	}
	from, to := timePoints[parts[0]], timePoints[parts[1]]
	for i, f := range []any{from, to} {
		if f.(func(*streaminfo.Info) int64) == nil {
			return nil, fmt.Errorf("time point %q is not supported", parts[i])
		}
	}
	unit := int64(1e6)
	if len(parts) == 3 {
		switch parts[2] {
		case "ms":
		case "us":
			unit = 1e3
		case "ns":
			unit = 1
		default:
			return nil, fmt.Errorf("precision %q is none of ms, us, ns", parts[2])
		}
	}
	return &valueOp{number: true, f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		a, b := from(c.Info), to(c.Info)
		if a == 0 || b == 0 || b < a {
			return dst, false
		}
		return strconv.AppendInt(dst, (b-a)/unit, 10), true
	}}, nil
}
