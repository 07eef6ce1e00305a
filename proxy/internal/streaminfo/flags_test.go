package streaminfo

import (
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	f := func(short, long string, set ...Flags) {
		t.Helper()
		var i Info
		for _, x := range set {
			i.Set(x)
		}
		if got := string(i.AppendFlags(nil)); got != short {
			t.Errorf("short %q, want %q", got, short)
		}
		if got := string(i.AppendFlagsLong(nil)); got != long {
			t.Errorf("long %q, want %q", got, long)
		}
	}
	f("-", "-")
	f("UH", "NoHealthyUpstream", NoHealthyUpstream)
	f("UF,URX", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded", UpstreamRetryLimitExceeded|UpstreamConnectionFailure)
	f("URX,UF", "UpstreamRetryLimitExceeded,UpstreamConnectionFailure", UpstreamRetryLimitExceeded, UpstreamConnectionFailure, UpstreamRetryLimitExceeded)
	f("UDO", "UnconditionalDropOverload", UnconditionalDropOverload)
	all := make([]Flags, len(flagNames)) // more than the order has room for
	short, long := make([]string, len(flagNames)), make([]string, len(flagNames))
	for i := range flagNames {
		all[i], short[i], long[i] = 1<<i, flagNames[i][0], flagNames[i][1]
	}
	f(strings.Join(short, ","), strings.Join(long, ","), all...)
	back := Info{}
	back.Set(UpstreamConnectionFailure)
	back.Flags = 0
	back.Set(DelayInjected)
	back.Set(UpstreamConnectionFailure)
	if got := string(back.AppendFlags(nil)); got != "UF,DI" && got != "DI,UF" {
		t.Errorf("a flag that was taken back and set again: %q", got)
	}
	for i := range flagNames {
		if got, ok := Flag(flagNames[i][0]); !ok || got != 1<<i {
			t.Errorf("Flag(%q) = %v, %v", flagNames[i][0], got, ok)
		}
	}
	if _, ok := Flag("XX"); ok {
		t.Error("unknown flag found")
	}
}
