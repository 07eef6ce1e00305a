package health

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// readinessProbeField is the number of readiness_probe in istio.mesh.v1alpha1.ProxyConfig.
const readinessProbeField = 31

// FromProxyConfig reads the readiness probe of a serialised istio.mesh.v1alpha1.ProxyConfig; nil when it has none.
func FromProxyConfig(b []byte) (*Probe, error) {
	var p *Probe
	err := fields(b, func(n protowire.Number, v value) error {
		if n != readinessProbeField {
			return nil
		}
		p = &Probe{}
		return p.read(v.bytes)
	})
	if err != nil {
		return nil, fmt.Errorf("ProxyConfig: readiness_probe: %w", err)
	}
	if p == nil {
		return nil, nil
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("ProxyConfig: readiness_probe: %w", err)
	}
	return p, nil
}

func (p *Probe) read(b []byte) error {
	return fields(b, func(n protowire.Number, v value) error {
		switch n {
		case 2:
			p.InitialDelaySeconds = int32(v.number)
		case 3:
			p.TimeoutSeconds = int32(v.number)
		case 4:
			p.PeriodSeconds = int32(v.number)
		case 5:
			p.SuccessThreshold = int32(v.number)
		case 6:
			p.FailureThreshold = int32(v.number)
		case 7:
			p.HTTPGet = &HTTPGet{}
			return p.HTTPGet.read(v.bytes)
		case 8:
			p.TCPSocket = &TCPSocket{}
			return fields(v.bytes, func(n protowire.Number, v value) error {
				switch n {
				case 1:
					p.TCPSocket.Host = string(v.bytes)
				case 2:
					p.TCPSocket.Port = uint32(v.number)
				}
				return nil
			})
		case 9:
			p.Exec = &Exec{}
			return fields(v.bytes, func(n protowire.Number, v value) error {
				if n == 1 {
					p.Exec.Command = append(p.Exec.Command, string(v.bytes))
				}
				return nil
			})
		case 10:
			p.GRPC = &GRPC{}
			return fields(v.bytes, func(n protowire.Number, v value) error {
				switch n {
				case 1:
					p.GRPC.Port = uint32(v.number)
				case 2:
					p.GRPC.Service = string(v.bytes)
				}
				return nil
			})
		}
		return nil
	})
}

func (g *HTTPGet) read(b []byte) error {
	return fields(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			g.Path = string(v.bytes)
		case 2:
			g.Port = uint32(v.number)
		case 3:
			g.Host = string(v.bytes)
		case 4:
			g.Scheme = string(v.bytes)
		case 5:
			var h Header
			err := fields(v.bytes, func(n protowire.Number, v value) error {
				switch n {
				case 1:
					h.Name = string(v.bytes)
				case 2:
					h.Value = string(v.bytes)
				}
				return nil
			})
			g.HTTPHeaders = append(g.HTTPHeaders, h)
			return err
		}
		return nil
	})
}

// value is a field's: number of varints, bytes of what has a length.
type value struct {
	number uint64
	bytes  []byte
}

var errWire = errors.New("not a valid message")

// fields calls f with each field of a serialised message; other wire types are passed over.
func fields(b []byte, f func(protowire.Number, value) error) error {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errWire
		}
		b = b[size:]
		var v value
		switch typ {
		case protowire.VarintType:
			v.number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, size = protowire.ConsumeBytes(b)
		default:
			if size = protowire.ConsumeFieldValue(n, typ, b); size >= 0 {
				b = b[size:]
				continue
			}
		}
		if size < 0 {
			return errWire
		}
		b = b[size:]
		if err := f(n, v); err != nil {
			return err
		}
	}
	return nil
}
