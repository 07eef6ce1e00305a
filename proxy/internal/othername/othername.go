// Package othername reads the names of certificates whose kind an object identifier says, such as the user principal names of directories;
// crypto/x509 leaves them out.
//
// It judges nothing: trust matches such names, and format prints them. Only the two import it.
package othername

import (
	"crypto/x509"
	"encoding/asn1"
)

// extension is the one with the subject's alternative names (RFC 5280, 4.2.1.6).
var extension = asn1.ObjectIdentifier{2, 5, 29, 17}

// Name is a name that is text.
type Name struct {
	Kind asn1.ObjectIdentifier
	Text string
}

// raw is a name as it is encoded.
type raw struct {
	Kind  asn1.ObjectIdentifier
	Value asn1.RawValue // the explicit tag around it
}

// Of returns the certificate's names of other kinds, those that are text, in order. What is not encoded as it must be ends the list.
func Of(c *x509.Certificate) (out []Name) {
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(extension) {
			continue
		}
		var names asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for left := names.Bytes; len(left) > 0; {
			var one asn1.RawValue
			var err error
			if left, err = asn1.Unmarshal(left, &one); err != nil {
				return nil
			}
			if one.Class != asn1.ClassContextSpecific || one.Tag != 0 {
				continue
			}
			var n raw
			if _, err := asn1.UnmarshalWithParams(one.FullBytes, &n, "tag:0"); err != nil {
				continue
			}
			var value asn1.RawValue
			if _, err := asn1.Unmarshal(n.Value.Bytes, &value); err == nil && isText(value.Tag) {
				out = append(out, Name{n.Kind, string(value.Bytes)})
			}
		}
	}
	return out
}

func isText(tag int) bool {
	switch tag {
	case asn1.TagUTF8String, asn1.TagIA5String, asn1.TagPrintableString, asn1.TagT61String, asn1.TagGeneralString, asn1.TagNumericString:
		return true
	}
	return false
}
