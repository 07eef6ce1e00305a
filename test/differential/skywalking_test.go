package differential

import (
	"encoding/base64"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	commonpb "skywalking.apache.org/repo/goapi/collect/common/v3"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"
)

// segmentService takes SkyWalking's segments, one a message.
const segmentService = "TraceSegmentReportService/collect"

// withToken adds the token that a stream of segments has shown.
func withToken(what string, st grpc.ServerStream) string {
	if v := metadata.ValueFromIncomingContext(st.Context(), "authentication"); len(v) > 0 {
		what += " " + strings.Join(v, ",")
	}
	return what
}

// orderly takes the dashes from the ids of a segment, which look like those of requests otherwise, and has tags in the order of their
// names, of which some occur twice.
func orderly(s *agentpb.SegmentObject) {
	s.TraceId, s.TraceSegmentId = bareID(s.TraceId), bareID(s.TraceSegmentId)
	for _, span := range s.Spans {
		slices.SortStableFunc(span.Tags, func(a, b *commonpb.KeyStringValuePair) int { return strings.Compare(a.Key, b.Key) })
		for _, r := range span.Refs {
			r.TraceId, r.ParentTraceSegmentId = bareID(r.TraceId), bareID(r.ParentTraceSegmentId)
		}
	}
}

func bareID(id string) string {
	if bare := strings.ReplaceAll(id, "-", ""); len(id) == 36 && len(bare) == 32 {
		return bare
	}
	return id
}

// readableSW8 is a context of SkyWalking's with its texts in plain.
func readableSW8(v string) string {
	fields := strings.Split(v, "-")
	if len(fields) != 8 {
		return v
	}
	for i, f := range fields {
		if i == 0 || i == 3 {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(f)
		if err != nil {
			return v
		}
		fields[i] = bareID(string(text))
	}
	return strings.Join(fields, " ")
}
