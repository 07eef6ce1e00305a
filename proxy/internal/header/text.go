package header

// AppendText appends text that others have chosen, such as names in a certificate, so that it may stand in a field's value: control characters, which end
// a line or a field for one reader or another (RFC 9110, 5.5), are percent-encoded.
func AppendText(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == 0x7f {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// Text is AppendText for a string; one without control characters is returned as it is.
func Text(text string) string {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == 0x7f {
			return string(AppendText(nil, text))
		}
	}
	return text
}
