//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// secret stands in each answer of catalog, and tlsRecord begins each record of TLS 1.2 and 1.3 with data of applications (RFC 8446, 5.2).
const secret = "Harbour Lateen"

var tlsRecord = []byte{0x17, 3, 3}

// wire is what passes on the loopback device to and from an address: the bytes of TCP of each packet.
type wire struct {
	mu      sync.Mutex
	packets [][]byte
}

// tap reads the packets of an IPv4 address on the loopback device from a raw socket until the test ends.
func tap(t *testing.T, address string) *wire {
	t.Helper()
	ip, err := netip.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	// SOCK_DGRAM: packets begin with the header of IP.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // no protocol: nothing comes before the filter is there
	if err != nil {
		t.Fatal(err)
	}
	bits := ip.As4()
	mine := binary.BigEndian.Uint32(bits[:])
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 12, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: mine, SkipTrue: 2},
		bpf.LoadAbsolute{Off: 16, Size: 4}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: mine, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18}, bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	program := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	order := func(v uint16) uint16 { return v<<8 | v>>8 } // of the network, on machines whose own is the other
	if err := errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}), // to see that the test has ended
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: order(unix.ETH_P_IP), Ifindex: lo.Index}),
	); err != nil {
		t.Fatal(err)
	}
	w, ended := &wire{}, make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 1<<18)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			select {
			case <-ended:
				return
			default:
			}
			if err == nil {
				w.add(buf[:n])
			} else if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				t.Error(err)
				return
			}
		}
	})
	t.Cleanup(func() {
		close(ended)
		reader.Wait()
		if stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || stats.Drops > 0 {
			t.Errorf("packets were missed: %+v %v", stats, err)
		}
		unix.Close(fd)
	})
	return w
}

// add keeps what a packet of IPv4 and TCP carries.
func (w *wire) add(packet []byte) {
	ip := int(packet[0]&15) * 4
	if len(packet) < ip+20 {
		return
	}
	if tcp := ip + int(packet[ip+12]>>4)*4; tcp < len(packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.packets = append(w.packets, bytes.Clone(packet[tcp:]))
	}
}

// taken returns how many packets have come since it was called last, with the secret and with TLS.
func (w *wire) taken() (clear, sealed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.packets {
		if bytes.Contains(p, []byte(secret)) {
			clear++
		}
		if bytes.HasPrefix(p, tlsRecord) {
			sealed++
		}
	}
	w.packets = nil
	return clear, sealed
}

// What catalog answers webapp is on the wire in the clear when PeerAuthentication says DISABLE, and nowhere when it does not: packets between their proxies, of real
// processes, are captured and looked through.
func TestPlaintextOnTheWire(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skipf("capturing packets needs root: sudo go test ./test/e2e -run %s", t.Name())
	}
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	w := tap(t, m.address(t, "catalog-v1-1"))
	ask := func() (clear, sealed int) {
		t.Helper()
		w.taken()
		for range 10 {
			if a := m.mustGet(t, webappHost, "/api/catalog"); !strings.Contains(a.body, secret) {
				t.Fatalf("catalog does not say %q: %.200s", secret, a.body)
			}
		}
		return w.taken()
	}
	until := func(what string, want func(clear, sealed int) bool) {
		t.Helper()
		eventually(t, settleTime, func() error {
			if clear, sealed := ask(); !want(clear, sealed) {
				return fmt.Errorf("%s: of the packets of ten requests %d have the answer in the clear, %d are TLS", what, clear, sealed)
			}
			return nil
		})
	}
	encrypted := func(clear, sealed int) bool { return clear == 0 && sealed > 0 }
	until("as the mesh starts", encrypted)
	for range 10 {
		if clear, _ := ask(); clear > 0 {
			t.Errorf("as the mesh starts: the answer is in the clear in %d packets", clear)
		}
	}
	mode := func(mode string) {
		m.applyText(t, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: wire, namespace: istioinaction}\nspec: {selector: {matchLabels: {app: catalog}}, mtls: {mode: "+mode+"}}\n")
	}
	mode("DISABLE")
	until("DISABLE", func(clear, sealed int) bool { return clear >= 10 && sealed == 0 })
	mode("STRICT")
	until("STRICT", encrypted)
	for range 10 {
		if clear, _ := ask(); clear > 0 {
			t.Errorf("STRICT: the answer is in the clear in %d packets", clear)
		}
	}
}

// An AuthorizationPolicy refuses an address and takes others, and one that allows takes only what it names: at a workload's proxy, from addresses of clients' own.
func TestPolicyBySourceAddress(t *testing.T) {
	m := shared
	address := m.address(t, "catalog-v1-1") + ":3000"
	from := func(source string) (string, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := d.DialContext(t.Context(), "tcp", address)
		if err != nil {
			return "", err
		}
		return exchange(conn)
	}
	const first, second, third = "127.200.0.1", "127.200.0.2", "127.201.0.1"
	policy := func(text string, want map[string]int) {
		t.Helper()
		m.applyText(t, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: addresses, namespace: istioinaction}\nspec: {selector: {matchLabels: {app: catalog}}, "+text+"}\n")
		eventually(t, settleTime, func() error {
			for source, status := range want {
				if line, err := from(source); err != nil || !strings.Contains(line, fmt.Sprintf(" %d ", status)) {
					return fmt.Errorf("%s: from %s: %q %v, want %d", text, source, line, err, status)
				}
			}
			return nil
		})
	}
	const ok, no = http.StatusOK, http.StatusForbidden
	policy("action: DENY, rules: [{from: [{source: {ipBlocks: ["+first+"]}}]}]", map[string]int{first: no, second: ok, third: ok})
	policy("action: ALLOW, rules: [{from: [{source: {ipBlocks: [127.200.0.0/16]}}]}]", map[string]int{first: ok, second: ok, third: no})
	policy("action: ALLOW, rules: [{from: [{source: {ipBlocks: [127.200.0.0/16], notIpBlocks: ["+first+"]}}]}]", map[string]int{first: no, second: ok, third: no})
	policy("action: DENY, rules: [{from: [{source: {notIpBlocks: ["+first+"]}}]}]", map[string]int{first: ok, second: no, third: no})
}
