package admin

import "google.golang.org/protobuf/types/known/wrapperspb"

// u32 wraps a number that Envoy shows even when it is 0.
func u32(v uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(v) }
