package export

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// lastAnswer is how long a service may take to confirm the last message at the end.
const lastAnswer = time.Second

// Stream is a call over which messages are sent one way, for as long as it lasts. It is opened with the first, and anew when it broke.
type Stream struct {
	Conn Conn
	// Method is what is called: /PACKAGE.SERVICE/METHOD.
	Method string

	stream grpc.ClientStream
	end    context.CancelFunc // of the stream
}

// Send sends a message. Before one that is a stream's first, first is called, which may complete it. A stream that broke since the last
// message, as it does when the service is restarted, costs none: it goes over a new one.
func (s *Stream) Send(ctx context.Context, m proto.Message, first func()) error {
	kept := s.stream != nil
	err := s.send(ctx, m, first)
	if err != nil && kept && ctx.Err() == nil {
		err = s.send(ctx, m, first)
	}
	return err
}

func (s *Stream) send(ctx context.Context, m proto.Message, first func()) error {
	if s.stream == nil {
		conn, callCtx, err := s.Conn.Get(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		callCtx, s.end = context.WithCancel(callCtx)
		// The stream outlives the message; only its opening and this message are bounded.
		stop := context.AfterFunc(ctx, s.end)
		s.stream, err = conn.NewStream(callCtx, &grpc.StreamDesc{ClientStreams: true}, s.Method)
		stop()
		if err != nil {
			s.reset()
			return err
		}
		first()
	}
	stop := context.AfterFunc(ctx, s.end) // SendMsg waits for a service that does not read
	err := s.stream.SendMsg(m)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if cause := s.answer(); cause != nil {
			err = cause
		}
		s.reset()
	}
	return err
}

// answer ends the sending and waits for what the service has to say; nil when it is well.
func (s *Stream) answer() error {
	if err := s.stream.CloseSend(); err != nil {
		return err
	}
	if err := s.stream.RecvMsg(&emptypb.Empty{}); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *Stream) reset() {
	if s.end != nil {
		s.end()
	}
	s.stream, s.end = nil, nil
	s.Conn.Close()
}

// Close ends the stream and its connection. What was sent last is on its way: the service's answer tells that it has come.
func (s *Stream) Close() {
	if s.stream != nil {
		timer := time.AfterFunc(lastAnswer, s.end)
		_ = s.answer()
		timer.Stop()
	}
	s.reset()
}
