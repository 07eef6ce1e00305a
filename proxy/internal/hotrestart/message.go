package hotrestart

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// Version is that of the messages. Processes of different versions do not hand anything over.
const Version = 1

// maxMessage bounds what a peer can make us keep: counters of a large mesh are some megabytes.
const maxMessage = 256 << 20

// Operations of a request.
const (
	opHello     = "hello"
	opAdmin     = "admin"
	opSocket    = "socket"
	opDrain     = "drain"
	opStats     = "stats"
	opTerminate = "terminate"
)

type request struct {
	Op      string
	Version int
	// Of opSocket:
	Listener, Address string
	Worker            int
}

type response struct {
	Error    string            `json:",omitempty"`
	Found    bool              `json:",omitempty"` // opSocket: a descriptor comes with the message
	Counters map[string]uint64 `json:",omitempty"`
	// Connections are those that the parent still serves.
	Connections int64 `json:",omitempty"`
}

// write sends a message, with a descriptor unless fd is negative.
func write(c *net.UnixConn, v any, fd int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	var oob []byte
	if fd >= 0 {
		oob = syscall.UnixRights(fd)
	}
	// The descriptor travels with the first bytes.
	n, _, err := c.WriteMsgUnix(head, oob, nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(head[n:]); err != nil {
		return err
	}
	_, err = c.Write(body)
	return err
}

// read receives a message; fd is -1 when none came with it.
func read(c *net.UnixConn, v any) (fd int, err error) {
	fd = -1
	head := make([]byte, 4)
	oob := make([]byte, syscall.CmsgSpace(4))
	n, on, _, _, err := c.ReadMsgUnix(head, oob)
	if err != nil {
		return fd, err
	}
	if n == 0 {
		return fd, io.EOF
	}
	if on > 0 {
		if fd, err = descriptor(oob[:on]); err != nil {
			return -1, err
		}
	}
	fail := func(err error) (int, error) {
		if fd >= 0 {
			_ = syscall.Close(fd)
		}
		return -1, err
	}
	if _, err := io.ReadFull(c, head[n:]); err != nil {
		return fail(err)
	}
	size := binary.BigEndian.Uint32(head)
	if size > maxMessage {
		return fail(fmt.Errorf("a message of %d bytes is too large", size))
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fail(err)
	}
	return fd, nil
}

func descriptor(oob []byte) (int, error) {
	list, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, err
	}
	if len(list) == 0 {
		return -1, errors.New("a control message without descriptor")
	}
	fds, err := syscall.ParseUnixRights(&list[0])
	if err != nil {
		return -1, err
	}
	for _, fd := range fds[1:] { // there is room for one
		_ = syscall.Close(fd)
	}
	syscall.CloseOnExec(fds[0])
	return fds[0], nil
}
