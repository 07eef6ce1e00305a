package tracing

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// A request's id decides where no trace context does: its number is the chance by which the hops of a request are traced or not, all alike, and
// why the first of them traced it stands where a UUID has its version. That is Envoy's UuidRequestIdConfig with its defaults.

const (
	uuidLength = 36
	reasonAt   = 14
	// numberDigits of an id are its number.
	numberDigits = 8
)

// reasonDigits are how a reason is written. NotTraceable is the version of a UUID of random numbers.
var reasonDigits = [...]byte{NotTraceable: '4', Randomly: '9', Forced: 'a', ByClient: 'b'}

// ReasonOf is why a request with that id is traced by the hops before.
func ReasonOf(id []byte) Reason {
	if len(id) == uuidLength {
		for why := Randomly; int(why) < len(reasonDigits); why++ {
			if id[reasonAt] == reasonDigits[why] {
				return why
			}
		}
	}
	return NotTraceable
}

// WriteReason makes the id of a request say why it is traced. Ids that say so already, and those that are no UUIDs, stay as they are.
func WriteReason(h *header.Map, why Reason) {
	id := h.Value(header.XRequestID)
	if len(id) != uuidLength || ReasonOf(id) == why {
		return
	}
	b := append(h.Build(), id...)
	b[len(b)-uuidLength+reasonAt] = reasonDigits[why]
	h.SetBuilt(requestIDKey, b)
}

var requestIDKey = header.KeyOf("x-request-id")

// numberOf is the number of an id; false for one that has none.
func numberOf(id []byte) (uint64, bool) {
	if len(id) < numberDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(string(id[:numberDigits]), 16, 32)
	return n, err == nil
}
