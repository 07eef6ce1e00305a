package uuid

import "testing"

func TestAppend(t *testing.T) {
	for _, test := range []struct {
		hi, lo uint64
		want   string
	}{
		{0, 0, "00000000-0000-4000-8000-000000000000"},
		{0x0123456789abcdef, 0xfedcba9876543210, "01234567-89ab-4def-bedc-ba9876543210"},
		{^uint64(0), ^uint64(0), "ffffffff-ffff-4fff-bfff-ffffffffffff"},
	} {
		if got := string(Append([]byte("id "), test.hi, test.lo)); got != "id "+test.want {
			t.Errorf("%x %x: %s", test.hi, test.lo, got)
		}
	}
}
