package http1

// Error is why a message is refused. Errors are shared values; compare them with ==.
type Error struct {
	Status  int    // what a server answers to a request: 400, 413, 426, 431, 501, 505
	Details string // Envoy's response_code_details
	text    string
}

func (e *Error) Error() string { return e.text }

func refuse(status int, details, text string) *Error {
	return &Error{status, details, "http1: " + text}
}

// Reasons to refuse a message. Requests and responses share them.
var (
	ErrMethod           = refuse(400, "http1.codec_error", "method is not a token (RFC 9112, 3.1)")
	ErrTarget           = refuse(400, "http1.invalid_url", "request target is malformed (RFC 9112, 3.2)")
	ErrTargetByte       = refuse(400, "http1.codec_error", "request target has a byte that no URI has, or no form of RFC 9112, 3.2")
	ErrTargetControl    = refuse(400, "http1.invalid_characters", "request target has a control character (RFC 3986, 2)")
	ErrScheme           = refuse(400, "http1.invalid_scheme", "request target has a scheme other than http and https (RFC 9112, 3.2.2)")
	ErrSchemeInClear    = refuse(403, "http1.https_url_on_plaintext_connection", "request target has the scheme https on a connection without TLS")
	ErrVersion          = refuse(400, "http1.codec_error", "HTTP version is malformed or unknown (RFC 9112, 2.3)")
	ErrHTTP10           = refuse(426, "low_version", "HTTP/1.0 is not accepted")
	ErrStatusLine       = refuse(502, "http1.codec_error", "status line is malformed (RFC 9112, 4)")
	ErrBareLF           = refuse(400, "http1.codec_error", "line ends without CR (RFC 9112, 2.2)")
	ErrBareCR           = refuse(400, "http1.codec_error", "CR inside a line (RFC 9112, 2.2)")
	ErrName             = refuse(400, "http1.codec_error", "header name is not a token followed by a colon (RFC 9112, 5.1)")
	ErrUnderscore       = refuse(400, "http1.unexpected_underscore", "header name has an underscore (headers_with_underscores_action)")
	ErrFold             = refuse(400, "http1.codec_error", "folded header line (RFC 9112, 5.2)")
	ErrValue            = refuse(400, "http1.invalid_characters", "header value has a control character (RFC 9110, 5.5)")
	ErrHeadTooLarge     = refuse(431, "http1.headers_too_large", "header block is too large")
	ErrTooManyHeaders   = refuse(431, "http1.too_many_headers", "too many headers")
	ErrHostMissing      = refuse(400, "missing_host_header", "Host is missing (RFC 9112, 3.2)")
	ErrHostDuplicate    = refuse(400, "http1.codec_error", "more than one Host (RFC 9112, 3.2)")
	ErrHostInvalid      = refuse(400, "http.invalid_authority", "Host is malformed (RFC 9110, 7.2)")
	ErrLength           = refuse(400, "http1.codec_error", "Content-Length is malformed (RFC 9112, 6.3)")
	ErrLengthDuplicate  = refuse(400, "http1.codec_error", "more than one Content-Length (RFC 9112, 6.3)")
	ErrLengthAndChunked = refuse(400, "http1.content_length_and_chunked_not_allowed", "Content-Length beside Transfer-Encoding (RFC 9112, 6.3)")
	ErrTransferEncoding = refuse(501, "http1.invalid_transfer_encoding", "Transfer-Encoding other than chunked (RFC 9112, 6.1)")
	ErrTEOnHTTP10       = refuse(400, "http1.transfer_encoding_not_allowed", "Transfer-Encoding on HTTP/1.0 (RFC 9112, 6.1)")
	ErrTEOnNoBody       = refuse(502, "http1.transfer_encoding_not_allowed", "Transfer-Encoding on a 1xx or 204 response (RFC 9112, 6.1)")
	ErrLengthOnNoBody   = refuse(502, "http1.content_length_not_allowed", "Content-Length on a 1xx or 204 response (RFC 9110, 8.6)")
	ErrSwitch           = refuse(502, "http1.codec_error", "101 that nobody has asked for (RFC 9110, 15.2.2)")
	ErrTEOnConnect      = refuse(400, "http1.body_disallowed", "body framing on CONNECT (RFC 9110, 9.3.6)")
	ErrChunkSize        = refuse(400, "http1.codec_error", "chunk size is malformed or too large (RFC 9112, 7.1)")
	ErrChunkExtension   = refuse(400, "http1.codec_error", "chunk extension is malformed or too long (RFC 9112, 7.1.1)")
	ErrChunkEnd         = refuse(400, "http1.codec_error", "chunk does not end in CRLF (RFC 9112, 7.1)")
	ErrTrailer          = refuse(400, "http1.codec_error", "trailer is malformed or not allowed (RFC 9110, 6.5.1)")
	ErrConnection       = refuse(400, "http1.connection_header_rejected", "Connection nominates a header that may not be dropped (RFC 9110, 7.6.1)")
)
