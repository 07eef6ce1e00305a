package nametable

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds on one message.
const (
	maxNames   = 200_000
	maxNameLen = 255 // RFC 1035, section 2.3.4
	maxIPs     = 10_000
)

// Parse reads a serialised NameTable. The error says what is not valid of it, or beyond bounds. It is written by hand: the message is small, and an agent
// should not carry reflection for it. What it does not know it leaves out, as every reader of protos does.
func Parse(b []byte) (*Table, error) {
	t := &Table{}
	err := fields(b, func(n protowire.Number, value []byte) error {
		switch n {
		case tableField:
			host, info, err := parseEntry(value)
			if err != nil {
				return err
			}
			if t.Names == nil {
				t.Names = map[string]Info{}
			}
			if t.Names[host] = info; len(t.Names) > maxNames {
				return fmt.Errorf("more than %d names", maxNames)
			}
		case ownField:
			info, err := parseInfo(value)
			if err != nil {
				return err
			}
			t.Own = &info
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("name table: %w", err)
	}
	return t, nil
}

func parseEntry(b []byte) (host string, info Info, err error) {
	err = fields(b, func(n protowire.Number, value []byte) error {
		switch n {
		case entryKey:
			if host = string(value); len(host) > maxNameLen {
				return fmt.Errorf("a name of %d bytes: want at most %d", len(host), maxNameLen)
			}
		case entryValue:
			info, err = parseInfo(value)
			return err
		}
		return nil
	})
	return host, info, err
}

func parseInfo(b []byte) (info Info, err error) {
	err = fields(b, func(n protowire.Number, value []byte) error {
		switch n {
		case ipsField:
			if info.IPs = append(info.IPs, string(value)); len(info.IPs) > maxIPs {
				return fmt.Errorf("a name with more than %d addresses", maxIPs)
			}
		case registryField:
			info.Registry = string(value)
		case shortField:
			info.ShortName = string(value)
		case namespaceField:
			info.Namespace = string(value)
		}
		return nil
	})
	return info, err
}

var errWire = errors.New("is no serialised message")

// fields calls f with each field that has a length. All fields of the message do.
func fields(b []byte, f func(n protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errWire
		}
		b = b[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
				return errWire
			}
			b = b[size:]
			continue
		}
		value, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return errWire
		}
		b = b[size:]
		if err := f(n, value); err != nil {
			return err
		}
	}
	return nil
}
