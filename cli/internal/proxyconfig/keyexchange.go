package proxyconfig

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// KeyExchangeStats is the admin page that PrintKeyExchanges reads.
const KeyExchangeStats = `/stats?filter=^(listener|cluster)\..*\.ssl\.(curves|versions)\.`

// agreed is what TLS connections of one peer have agreed on: how many for each version and for each key exchange.
type agreed struct{ versions, curves map[string]uint64 }

// PrintKeyExchanges writes, of the listeners and clusters of a proxy that have had TLS connections, the versions of TLS and the key exchanges that these
// agreed on, and how many times. X25519MLKEM768 is the one that a quantum computer does not break later either. stats is the page's text. A proxy
// without any such connection gets no table.
func PrintKeyExchanges(w io.Writer, stats []byte) error {
	of := map[string]*agreed{}
	lines := bufio.NewScanner(bytes.NewReader(stats))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		n, err := strconv.ParseUint(value, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("statistics of the proxy: %q is no counter", lines.Text())
		}
		scope, what, ok := strings.Cut(name, ".ssl.")
		if !ok || n == 0 {
			continue
		}
		if of[scope] == nil {
			of[scope] = &agreed{map[string]uint64{}, map[string]uint64{}}
		}
		if version, ok := strings.CutPrefix(what, "versions."); ok {
			of[scope].versions[version] += n
		} else if curve, ok := strings.CutPrefix(what, "curves."); ok {
			of[scope].curves[curve] += n
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("statistics of the proxy: %w", err)
	}
	if len(of) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := table(w, 5)
	fmt.Fprintln(t, "TLS CONNECTIONS\tVERSION\tKEY EXCHANGE")
	for _, scope := range slices.Sorted(maps.Keys(of)) {
		fmt.Fprintf(t, "%s\t%s\t%s\n", scope, counts(of[scope].versions), counts(of[scope].curves))
	}
	return t.Flush()
}

// counts is "A 3, B 1", by name.
func counts(of map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(parts, ", ")
}
