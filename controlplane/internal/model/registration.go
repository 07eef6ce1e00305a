package model

// Registration is a service as a registry outside the mesh's own objects gives it: Consul, Nomad. It is one registry's word; several may
// register the same host, and then the first by source says what the service is and the endpoints of all are its endpoints.
type Registration struct {
	// Service has Registry set, and neither Selector nor Inline.
	Service *Service
	// Placed says that an object defines the service, and that the registry only knows where it is: of Service, Host, Namespace, Name and Origin count.
	// Where the object chooses workloads by itself, Instances do not count.
	Placed bool
	// Instances have Port and ServicePort set: one for each endpoint and service port that it serves.
	Instances []Instance
}

// Key is the key of the service in Snapshot.Services.
func (r *Registration) Key() string { return r.Service.Key() }
