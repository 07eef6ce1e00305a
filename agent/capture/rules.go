package capture

// Where captured connections arrive, as in a pod of Istio's.
const (
	OutboundPort = 15001
	InboundPort  = 15006
)

// Rules say whose connections are captured.
type Rules struct {
	// Name of the nftables table that holds the rules; what is in it belongs to this package.
	Name string
	// UID is the user whose outbound connections are captured, except for those to 127.0.0.0/8.
	UID uint32
	// Inbound are the ports to which connections from other machines are captured.
	Inbound []uint16
}
