package main

import "context"

// startHop starts two proxies of one kind as the sidecars of a client and of a server, mutual TLS between them.
func startHop(ctx context.Context, p peer, dir string, o origins, cert certificate) (*process, error) {
	prog, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	client, server := hopConfigs(p.mesh)
	at := site{Plain: freeAddr(), Fresh: freeAddr(), TLS: freeAddr(), Origin: o.http.addr, Dir: dir}
	start := func(side, text string) (*process, error) {
		name := p.name + "-" + side
		file, err := write(dir, name+"."+p.ending, text, at, cert)
		if err != nil {
			return nil, err
		}
		return launch(ctx, name, dir, p.env, p.args(prog, file)...)
	}
	second, err := start("server", server)
	if err != nil {
		return nil, err
	}
	first, err := start("client", client)
	if err != nil {
		second.stop()
		return nil, err
	}
	first.name, first.second, first.plain, first.fresh = p.name, second, at.Plain, at.Fresh
	if err := first.await(ctx, "http://"+at.Plain+"/", dir); err != nil {
		first.stop()
		return nil, err
	}
	return first, nil
}
