package listener

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file makes fingerprints of a ClientHello: what a client offers, and in which order, tells which software it is.
//
// JA3 (https://github.com/salesforce/ja3) is the MD5 of the version and of the lists as they come; JA4
// (https://github.com/FoxIO-LLC/ja4, "JA4: TLS client fingerprinting") can be read in part, and sorts them.

const (
	extGroups            = 10
	extPointFormats      = 11
	extSignatures        = 13
	extSupportedVersions = 43
)

// offer is what fingerprints are made of, without the values that clients make up (GREASE, RFC 8701).
type offer struct {
	version                     uint16
	ciphers, extensions, groups []uint16
	formats                     []byte
	versions, signatures        []uint16
	alpn                        []byte // the first protocol
	named                       bool   // a server name was sent, of whatever form
}

func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// offerOf reads a ClientHello that parseHello has taken. false: it is not one.
func offerOf(b []byte) (o offer, ok bool) {
	msg, v := handshakeBytes(b, maxHello)
	if v != isTLS {
		return o, false
	}
	c := cursor{msg, true}
	o.version = uint16(c.number(2))
	c.take(32)
	c.vector(1)
	o.ciphers = numbers(c.vector(2))
	c.vector(1)
	if len(c.b) == 0 {
		return o, c.ok
	}
	exts := c.vector(2)
	for exts.ok && len(exts.b) > 0 {
		kind := uint16(exts.number(2))
		body := exts.vector(2)
		if grease(kind) {
			continue
		}
		o.extensions = append(o.extensions, kind)
		switch kind {
		case extServerName:
			o.named = true
		case extALPN:
			list := body.vector(2)
			o.alpn = list.vector(1).b
		case extGroups:
			o.groups = numbers(body.vector(2))
		case extPointFormats:
			o.formats = body.vector(1).b
		case extSignatures:
			o.signatures = numbers(body.vector(2))
		case extSupportedVersions:
			o.versions = numbers(body.vector(1))
		}
	}
	return o, exts.ok
}

// numbers reads a list of 16 bit values.
func numbers(c cursor) (out []uint16) {
	for c.ok && len(c.b) > 0 {
		if v := uint16(c.number(2)); c.ok && !grease(v) {
			out = append(out, v)
		}
	}
	return out
}

// ja3 is the MD5 as 32 hexadecimal digits. MD5 is what the format says; nothing trusts it.
func (o *offer) ja3() string {
	formats := make([]uint16, len(o.formats))
	for i, f := range o.formats {
		formats[i] = uint16(f)
	}
	decimal := func(list []uint16) string {
		return join(list, "-", func(v uint16) string { return strconv.Itoa(int(v)) })
	}
	sum := md5.Sum([]byte(strings.Join([]string{
		strconv.Itoa(int(o.version)), decimal(o.ciphers), decimal(o.extensions), decimal(o.groups), decimal(formats),
	}, ",")))
	return hex.EncodeToString(sum[:])
}

// ja4 is its three parts.
func (o *offer) ja4() string {
	version := o.version
	if len(o.versions) > 0 {
		version = slices.Max(o.versions)
	}
	to := byte('i')
	if o.named {
		to = 'd'
	}
	rest := slices.DeleteFunc(slices.Clone(o.extensions), func(e uint16) bool { return e == extServerName || e == extALPN })
	second := sorted(rest)
	if len(o.signatures) > 0 {
		second += "_" + join(o.signatures, ",", hexadecimal)
	}
	return fmt.Sprintf("t%s%c%02d%02d%s_%s_%s", ja4Version(version), to, min(len(o.ciphers), 99), min(len(o.extensions), 99),
		ja4Protocol(o.alpn), short(sorted(o.ciphers)), short(second))
}

func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// ja4Protocol is the first and the last character of a protocol's name, or of its hexadecimal form.
func ja4Protocol(p []byte) string {
	if len(p) == 0 {
		return "00"
	}
	if name := string(p); alphanumeric(p[0]) && alphanumeric(p[len(p)-1]) {
		return name[:1] + name[len(name)-1:]
	}
	h := hex.EncodeToString(p)
	return h[:1] + h[len(h)-1:]
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// short is the beginning of a text's SHA-256; zeros for no text.
func short(s string) string {
	if s == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

func sorted(list []uint16) string {
	list = slices.Clone(list)
	slices.Sort(list)
	return join(list, ",", hexadecimal)
}

func hexadecimal(v uint16) string { return fmt.Sprintf("%04x", v) }

func join(list []uint16, sep string, text func(uint16) string) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	return strings.Join(parts, sep)
}
