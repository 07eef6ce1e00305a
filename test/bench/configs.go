package main

// The configurations do the same work: a route by header, two request headers added, pooled keep-alive connections to the origin, no
// access log, one worker. Each proxy has four listeners: HTTP/1.1 in the clear, HTTP/1.1 and HTTP/2 over TLS, TCP, and gRPC over TLS
// with HTTP/2 to the origin; those that take Envoy's configuration have a fifth, with policies. What a peer cannot do its configuration leaves out, and its rows stay empty.

// site is what a peer's configuration is made of.
type site struct {
	Plain, TLS, TCP, GRPC         string // where to listen
	Policed                       string // the same as Plain, with policies
	Origin, GRPCOrigin            string
	Cert, Key, Combined, Dir, PID string
	KeySet                        string // of the tokens that policies ask for
	Fresh                         string // where a sidecar listens for what shall have connections of its own
	StreamModule                  string // of nginx; "" where it is not installed
	Admin, Profile                string // our admin API, and the file of its profiler; "" without one
}

const originConfig = `worker_processes 1;
pid {{.PID}};
error_log stderr error;
events { worker_connections 16384; }
http {
  access_log off;
  sendfile on;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_max_body_size 10m;
  server {
    listen {{.Origin}} backlog=4096;
    location / { default_type text/plain; return 200 "{{.Body}}"; }
    location /files/ { root {{.Dir}}; }
  }
}
`

const nginxConfig = `worker_processes 1;
pid {{.PID}};
error_log stderr error;
{{with .StreamModule}}load_module {{.}};{{end}}
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  ssl_certificate {{.Cert}};
  ssl_certificate_key {{.Key}};
  ssl_session_cache off;
  ssl_session_tickets off;
  map $http_x_cohort $pool { default v1; internal v2; }
  upstream v1 { server {{.Origin}}; keepalive 256; keepalive_requests 100000000; }
  upstream v2 { server {{.Origin}}; keepalive 256; keepalive_requests 100000000; }
  upstream rpc { server {{.GRPCOrigin}}; keepalive 16; keepalive_requests 100000000; }
  server {
    listen {{.Plain}} backlog=4096;
    listen {{.TLS}} ssl http2 backlog=4096;
    http2_max_requests 100000000;
    location / {
      proxy_pass http://$pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-First one;
      proxy_set_header X-Second two;
    }
  }
  server {
    listen {{.GRPC}} ssl http2;
    http2_max_requests 100000000;
    location / {
      grpc_pass grpc://rpc;
      grpc_set_header X-First one;
      grpc_set_header X-Second two;
    }
  }
}
{{if .StreamModule}}
stream {
  server { listen {{.TCP}}; proxy_pass {{.Origin}}; }
}
{{end}}
`

const haproxyConfig = `global
  nbthread 1
  maxconn 9800
  maxpipes 64
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
frontend in
  bind {{.Plain}} backlog 4096
  bind {{.TLS}} ssl crt {{.Combined}} alpn h2,http/1.1 backlog 4096
  http-request set-header X-First one
  http-request set-header X-Second two
  acl internal hdr(x-cohort) -m str internal
  use_backend v2 if internal
  default_backend v1
backend v1
  server s1 {{.Origin}} pool-max-conn 512
backend v2
  server s1 {{.Origin}} pool-max-conn 512
frontend rpc
  bind {{.GRPC}} ssl crt {{.Combined}} alpn h2
  http-request set-header X-First one
  http-request set-header X-Second two
  default_backend rpc
backend rpc
  server s1 {{.GRPCOrigin}} proto h2 pool-max-conn 512
listen tcp
  mode tcp
  option splice-auto
  bind {{.TCP}}
  server s1 {{.Origin}}
`

const caddyConfig = `{
  admin off
  auto_https off
  log {
    level ERROR
  }
  servers {
    protocols h1 h2
  }
}
(shop) {
  @internal header X-Cohort internal
  reverse_proxy @internal {{.Origin}} {
    header_up X-First one
    header_up X-Second two
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
  reverse_proxy {{.Origin}} {
    header_up X-First one
    header_up X-Second two
  }
}
http://{{.Plain}} {
  import shop
}
https://{{.TLS}} {
  tls {{.Cert}} {{.Key}}
  import shop
}
https://{{.GRPC}} {
  tls {{.Cert}} {{.Key}}
  reverse_proxy h2c://{{.GRPCOrigin}} {
    header_up X-First one
    header_up X-Second two
  }
}
`
