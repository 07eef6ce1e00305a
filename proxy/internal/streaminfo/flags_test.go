package streaminfo

import "testing"

func TestFlags(t *testing.T) {
	f := func(in Flags, short, long string) {
		t.Helper()
		if got := in.String(); got != short {
			t.Errorf("short %q, want %q", got, short)
		}
		if got := string(in.AppendLong(nil)); got != long {
			t.Errorf("long %q, want %q", got, long)
		}
	}
	f(0, "-", "-")
	f(NoHealthyUpstream, "UH", "NoHealthyUpstream")
	f(UpstreamRetryLimitExceeded|UpstreamConnectionFailure, "UF,URX", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded")
	f(UnconditionalDropOverload, "UDO", "UnconditionalDropOverload")
	for i := range flagNames {
		if got, ok := Flag(flagNames[i][0]); !ok || got != 1<<i {
			t.Errorf("Flag(%q) = %v, %v", flagNames[i][0], got, ok)
		}
	}
	if _, ok := Flag("XX"); ok {
		t.Error("unknown flag found")
	}
}
