// Package grpcframe finds where the messages of gRPC begin and end in bytes that pass: five bytes of
// head, a flag and a length, and then the message
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message).
//
// It keeps nothing of what passes and judges no flag. It is a leaf: filters that look at gRPC import
// it, and it imports nothing of the proxy.
package grpcframe

// HeadSize is how many bytes stand before a message.
const HeadSize = 5

// Scanner follows one direction of a stream. The zero Scanner stands before the first frame.
type Scanner struct {
	head uint8  // bytes of the head that have passed
	left uint32 // bytes of the message that are to come, once the head has passed
}

// Step is what Advance found.
type Step struct {
	Bytes int  // taken: up to the end of a frame at most
	Began bool // a frame begins with the first of them
	Ended bool // a frame ends with the last of them
}

// Advance takes bytes up to the end of the frame that is under way, or of all of p.
func (s *Scanner) Advance(p []byte) Step {
	var st Step
	for st.Bytes < len(p) && s.head < HeadSize {
		if s.head == 0 {
			st.Began = true
			s.left = 0
		} else {
			s.left = s.left<<8 | uint32(p[st.Bytes])
		}
		s.head++
		st.Bytes++
	}
	if s.head < HeadSize {
		return st
	}
	n := min(uint64(len(p)-st.Bytes), uint64(s.left))
	st.Bytes += int(n)
	if s.left -= uint32(n); s.left == 0 {
		s.head, st.Ended = 0, true
	}
	return st
}

// Count takes all of p and returns how many frames begin in it.
func (s *Scanner) Count(p []byte) int {
	n := 0
	for len(p) > 0 {
		st := s.Advance(p)
		if st.Began {
			n++
		}
		p = p[st.Bytes:]
	}
	return n
}

// Within reports whether a frame is under way.
func (s *Scanner) Within() bool { return s.head > 0 }
