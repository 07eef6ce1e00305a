package grpcstatus

import "testing"

func TestCodes(t *testing.T) {
	for in, want := range map[string]Code{"0": OK, "16": Unauthenticated, "99": 99} {
		if got, ok := Parse([]byte(in)); !ok || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "-1", "ok", "4294967296", " 1"} {
		if got, ok := Parse([]byte(in)); ok {
			t.Errorf("Parse(%q) = %d, want none", in, got)
		}
	}
	for code, want := range map[Code]int{OK: 200, Canceled: 499, Unauthenticated: 401, 17: 500, 4294967295: 500} {
		if got := code.HTTP(); got != want {
			t.Errorf("code %d: HTTP %d, want %d", code, got, want)
		}
	}
	for status, want := range map[int]Code{400: Internal, 401: Unauthenticated, 403: PermissionDenied, 404: Unimplemented, 429: Unavailable, 504: Unavailable, 500: Unknown, 200: Unknown} {
		if got := FromHTTP(status); got != want {
			t.Errorf("HTTP %d: code %d, want %d", status, got, want)
		}
	}
	for in, want := range map[string]bool{"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false, "application/grp": false, "": false} {
		if Is([]byte(in)) != want {
			t.Errorf("Is(%q) is not %v", in, want)
		}
	}
}
