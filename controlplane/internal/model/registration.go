package model

// Registration is a service as a registry outside the mesh's own objects gives it: Consul, Nomad. It is one registry's word; several may
// register the same host, and then the first by source says what the service is and the endpoints of all are its endpoints.
type Registration struct {
	// Service has Registry set, and neither Selector nor Inline.
	Service *Service
	// Placed says that a core/v1 Service defines the service, if there is one, and that the registry only knows where it is: of Service, Host, Namespace,
	// Name and Origin count, and Instances are one for each endpoint, with Ports by the names of the Service's. Where the Service chooses workloads by itself, or
	// is a name, they do not count.
	Placed bool
	// Instances of others have Port and ServicePort set: one for each endpoint and service port that it serves.
	Instances []Instance
}

// Key is the key of the service in Snapshot.Services.
func (r *Registration) Key() string { return r.Service.Key() }
