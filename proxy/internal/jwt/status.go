package jwt

// Status says how the verification of a token ended. The numbers are Envoy's, which reports them as
// dynamic metadata.
type Status uint8

// The states of a token.
const (
	OK                    Status = 0
	Missing               Status = 1
	NotYetValid           Status = 2
	Expired               Status = 3
	BadFormat             Status = 4
	HeaderBadBase64       Status = 5
	HeaderBadJSON         Status = 6
	HeaderBadAlg          Status = 7
	HeaderAlgNotSupported Status = 8
	HeaderBadKid          Status = 9
	PayloadBadBase64      Status = 10
	PayloadBadJSON        Status = 11
	IssuerNotString       Status = 12
	SubjectNotString      Status = 13
	IssuedAtNotInteger    Status = 14
	IssuedAtOutOfRange    Status = 15
	NotBeforeNotInteger   Status = 16
	NotBeforeOutOfRange   Status = 17
	ExpirationNotInteger  Status = 18
	ExpirationOutOfRange  Status = 19
	IDNotString           Status = 20
	AudienceNotString     Status = 21
	SignatureBadBase64    Status = 22
	EdDSASignatureBadSize Status = 23
	UnknownIssuer         Status = 24
	AudienceNotAllowed    Status = 25
	VerificationFailed    Status = 26
	MultipleTokens        Status = 27
	NoValidKeys           Status = 31
	NoKeyMatches          Status = 32
	KeysNotFetched        Status = 40
	numberOfStatuses             = 41
)

// texts is what a client is told.
var texts = [numberOfStatuses]string{
	OK:                    "OK",
	Missing:               "Jwt is missing",
	NotYetValid:           "Jwt not yet valid",
	Expired:               "Jwt is expired",
	BadFormat:             "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
	HeaderBadBase64:       "Jwt header is an invalid Base64url encoded",
	HeaderBadJSON:         "Jwt header is an invalid JSON",
	HeaderBadAlg:          "Jwt header [alg] field is required and must be a string",
	HeaderAlgNotSupported: "Jwt header [alg] is not supported",
	HeaderBadKid:          "Jwt header [kid] field is not a string",
	PayloadBadBase64:      "Jwt payload is an invalid Base64url encoded",
	PayloadBadJSON:        "Jwt payload is an invalid JSON",
	IssuerNotString:       "Jwt payload [iss] field is not a string",
	SubjectNotString:      "Jwt payload [sub] field is not a string",
	IssuedAtNotInteger:    "Jwt payload [iat] field is not an integer",
	IssuedAtOutOfRange:    "Jwt payload [iat] field is not a positive 64 bit integer",
	NotBeforeNotInteger:   "Jwt payload [nbf] field is not an integer",
	NotBeforeOutOfRange:   "Jwt payload [nbf] field is not a positive 64 bit integer",
	ExpirationNotInteger:  "Jwt payload [exp] field is not an integer",
	ExpirationOutOfRange:  "Jwt payload [exp] field is not a positive 64 bit integer",
	IDNotString:           "Jwt payload [jti] field is not a string",
	AudienceNotString:     "Jwt payload [aud] field is not a string or string list",
	SignatureBadBase64:    "Jwt signature is an invalid Base64url encoded",
	EdDSASignatureBadSize: "Jwt ED25519 signature is wrong length",
	UnknownIssuer:         "Jwt issuer is not configured",
	AudienceNotAllowed:    "Audiences in Jwt are not allowed",
	VerificationFailed:    "Jwt verification fails",
	MultipleTokens:        "Found multiple Jwt tokens",
	NoValidKeys:           "Jwks doesn't have any valid public key",
	NoKeyMatches:          "Jwks doesn't have key to match kid or alg from Jwt",
	KeysNotFetched:        "Jwks remote fetch is failed",
}

// String is Envoy's text.
func (s Status) String() string { return texts[s] }
