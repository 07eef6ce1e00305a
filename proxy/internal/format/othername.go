package format

import (
	"crypto/x509"
	"encoding/asn1"
	"strings"
)

// sanOID is that of the extension with the subject's alternative names (RFC 5280, 4.2.1.6).
var sanOID = asn1.ObjectIdentifier{2, 5, 29, 17}

// otherName is a name whose kind an object identifier says; x509 leaves these out.
type otherName struct {
	Kind  asn1.ObjectIdentifier
	Value asn1.RawValue // the explicit tag around it
}

// otherNames are the texts of the certificate's names of other kinds, with commas between them.
func otherNames(c *x509.Certificate) string {
	var out []string
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(sanOID) {
			continue
		}
		var names asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return ""
		}
		for left := names.Bytes; len(left) > 0; {
			var one asn1.RawValue
			var err error
			if left, err = asn1.Unmarshal(left, &one); err != nil {
				return ""
			}
			if one.Class != asn1.ClassContextSpecific || one.Tag != 0 {
				continue
			}
			var n otherName
			if _, err := asn1.UnmarshalWithParams(one.FullBytes, &n, "tag:0"); err != nil {
				continue
			}
			var value asn1.RawValue
			if _, err := asn1.Unmarshal(n.Value.Bytes, &value); err == nil && isText(value.Tag) {
				out = append(out, string(value.Bytes))
			}
		}
	}
	return strings.Join(out, ",")
}

func isText(tag int) bool {
	switch tag {
	case asn1.TagUTF8String, asn1.TagIA5String, asn1.TagPrintableString, asn1.TagT61String, asn1.TagGeneralString, asn1.TagNumericString:
		return true
	}
	return false
}
