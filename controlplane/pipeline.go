package controlplane

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
	ingressconfig "github.com/lateen-mesh/lateen/config/ingress"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/derived"
	"github.com/lateen-mesh/lateen/controlplane/internal/dnsname"
	"github.com/lateen-mesh/lateen/controlplane/internal/follow"
	"github.com/lateen-mesh/lateen/controlplane/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/controlplane/internal/ingress"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/oidc"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/spiffebundle"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// Changes that come close together become one push: it goes out after debounceQuiet without another, at the latest after debounceMax.
const (
	debounceQuiet = 10 * time.Millisecond
	debounceMax   = 100 * time.Millisecond
)

// served is a view as xdsserver takes it.
type served struct{ *xdscache.View }

var _ xdsserver.View = served{}

// issuerPatience is how long proxies wait at the start for issuers of tokens to say where their keys are, for roots of others, and for the addresses of gateways that have
// names. Without it every start would take these away from proxies that have them.
const issuerPatience = 6 * time.Second

// pipeline turns batches of the stores, deltas of the registries and answers of issuers into views, one after the other.
type pipeline struct {
	log     *slog.Logger
	cache   *xdscache.Cache
	builder *snapshot.Builder // of run's goroutine alone
	// gateways and ingresses are what objects of the Gateway API and Ingresses come to.
	gateways, ingresses *derived.Translator
	view                atomic.Pointer[xdscache.View]
	incoming            chan sourced
	// follow is told which issuers have to say where their keys are. It does not wait.
	follow func(issuers []string)
	// followBundles and followNames are told which SPIFFE bundle endpoints are to be asked, and which names to be looked up. They do not wait.
	followBundles, followNames func(names []string)
	metrics                    pipelineMetrics
	// env is the environment that the mesh's settings may name variables of; nil: none.
	env snapshot.Environment
	// sources are the mesh's configSources at the start.
	sources   []string
	authority authority
	// given are the mesh's settings as they were read last, nil before.
	given *model.Mesh

	mu           sync.Mutex        // guards what the debug pages read
	taken        map[string]uint64 // by source, the number of the last batch that the view has
	found        []snapshot.Problem
	mesh         config.File // as it was given, valid
	meshProblems []snapshot.Problem
	bundles      map[string]spiffebundle.Answer
	names        map[string]dnsname.Answer
}

// authority issues identities under the trust domain that the mesh's settings name. A change takes it a while.
type authority interface {
	// TrustDomain is what the settings say, as far as it is known.
	TrustDomain() string
	SetTrustDomain(domain string, aliases []string)
	// FormerTrustDomains are those beside, whose identities are the same.
	FormerTrustDomains() []string
}

// sourced is a store's batch, a registry's delta, what is known of issuers or the authority's roots, and where it came from.
type sourced struct {
	source string
	batch  configstore.Batch
	delta  watch.Delta
	// issuers are all of which something is known; nil: it is not about them.
	issuers map[string]oidc.Answer
	// bundles are what SPIFFE bundle endpoints have answered, by URL; nil: it is not about them.
	bundles map[string]spiffebundle.Answer
	// names are what DNS has said of gateways' names; nil: it is not about them.
	names map[string]dnsname.Answer
	// roots are the certificate authority's, each one PEM, former its former trust domains; nil: it is not about them.
	roots, former []string
}

func newPipeline(log *slog.Logger, reg prometheus.Registerer, builder *snapshot.Builder, gateways gatewayapi.Options, authority authority, follow func([]string)) *pipeline {
	nobody := func([]string) {}
	p := &pipeline{followBundles: nobody, followNames: nobody, log: log, cache: xdscache.New(log), builder: builder, incoming: make(chan sourced), follow: follow, authority: authority, metrics: newPipelineMetrics(reg),
		gateways:  derived.NewTranslator(gatewayapi.API{Options: gateways}, time.Now),
		ingresses: derived.NewTranslator(ingress.API{Settings: ingressconfig.SettingsOf(nil)}, time.Now),
		taken:     map[string]uint64{}}
	p.view.Store(p.cache.View(p.builder.Snapshot()))
	return p
}

// add hands something over. It blocks while a push is being made.
func (p *pipeline) add(ctx context.Context, s sourced) {
	select {
	case p.incoming <- s:
	case <-ctx.Done():
	}
}

// run makes views until ctx ends. The first is made when each of the sources has delivered; loaded is closed then, or when the issuers that it asks for
// have been asked.
func (p *pipeline) run(ctx context.Context, sources int, loaded chan<- struct{}, push func(served)) error {
	var pending []sourced
	heard := map[string]bool{}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var first time.Time
	var patience <-chan time.Time // until loaded is closed all the same
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-p.incoming:
			if len(pending) == 0 {
				first = time.Now()
			}
			pending = append(pending, s)
			if s.issuers == nil && s.bundles == nil && s.names == nil {
				heard[s.source] = true
			}
			timer.Reset(max(0, min(debounceQuiet, debounceMax-time.Since(first))))
			continue
		case <-patience:
			close(loaded)
			loaded, patience = nil, nil
			continue
		case <-timer.C:
		}
		if len(pending) == 0 || len(heard) < sources {
			continue
		}
		p.metrics.debounce.Observe(time.Since(first).Seconds())
		p.metrics.received(pending)
		p.update(pending, push)
		p.took(pending)
		pending = nil
		issuers, known := p.builder.Issuers()
		p.follow(issuers)
		urls, names := p.builder.BundleURLs(), p.builder.GatewayNames()
		p.followBundles(urls)
		p.followNames(names)
		known = known && answered(urls, p.bundles) && answered(names, p.names)
		switch {
		case loaded == nil:
		case known:
			close(loaded)
			loaded, patience = nil, nil
		case patience == nil:
			patience = time.After(issuerPatience)
		}
	}
}

// update applies what has gathered and pushes what follows from it, if anything does.
func (p *pipeline) update(pending []sourced, push func(served)) {
	begin := time.Now()
	var events []snapshot.Event
	last := p.view.Load()
	total := &model.Change{From: last.Version(), To: last.Version()}
	snap := last.Snapshot()
	if p.given == nil {
		snap = p.setMesh(&events, total) // settings that cannot be read leave the trust domain
	}
	for _, s := range pending {
		if s.batch.Mesh != nil {
			if mesh, problems, err := snapshot.ParseMesh(*s.batch.Mesh, p.env); err != nil {
				p.log.Error("mesh configuration is not valid; the last good one stays", "err", err)
			} else {
				if !slices.Equal(mesh.Sources, p.sources) {
					const late = "they are not those of the start: where objects come from counts when the control plane starts again, with a file of the mesh's settings"
					p.log.Warn("configSources: " + late)
					problems = append(problems, snapshot.Problem{Origin: model.Origin{Kind: "MeshConfig", Name: "mesh", File: s.batch.Mesh.Name, Field: "configSources"}, Text: late})
				}
				p.noteMesh(*s.batch.Mesh, problems)
				p.given = mesh
				p.authority.SetTrustDomain(mesh.TrustDomain, mesh.TrustDomainAliases)
				snap = p.setMesh(&events, total)
				p.ingresses.Renew(ingress.API{Settings: ingressconfig.SettingsOf(p.meshConfig()), Domain: mesh.Domain, Considers: mesh.Considers})
			}
		}
		if s.issuers != nil {
			p.flush(&events, total)
			known := map[string]snapshot.Issuer{}
			for issuer, a := range s.issuers {
				known[issuer] = snapshot.Issuer(a)
			}
			var change *model.Change
			snap, change = p.builder.SetIssuers(known)
			total.Merge(change)
		}
		if s.names != nil {
			p.flush(&events, total)
			var change *model.Change
			snap, change = p.builder.SetNames(p.note(&p.names, s.names))
			total.Merge(change)
		}
		if s.bundles != nil {
			p.flush(&events, total)
			var change *model.Change
			snap, change = p.builder.SetBundles(p.note(&p.bundles, s.bundles))
			total.Merge(change)
		}
		if s.roots != nil {
			p.flush(&events, total)
			var change *model.Change
			snap, change = p.builder.SetTrust(s.roots)
			total.Merge(change)
		}
		if s.former != nil {
			snap = p.setMesh(&events, total)
		}
		p.gateways.Note(s.batch.Changed, s.batch.Deleted)
		p.ingresses.Note(s.batch.Changed, s.batch.Deleted)
		for _, o := range s.batch.Changed {
			if !o.Kind.Translated() {
				events = append(events, snapshot.Set(s.source, o))
			}
			p.metrics.events.WithLabelValues(o.Kind.Name, "update").Inc()
		}
		for _, key := range s.batch.Deleted {
			if !key.Kind.Translated() {
				events = append(events, snapshot.Delete(s.source, key))
			}
			p.metrics.events.WithLabelValues(key.Kind.Name, "delete").Inc()
		}
		for _, r := range s.delta.Changed {
			events = append(events, snapshot.Register(s.source, r))
		}
		for _, key := range s.delta.Removed {
			events = append(events, snapshot.Unregister(s.source, key))
		}
		for _, w := range s.delta.Placed {
			events = append(events, snapshot.Place(s.source, w))
		}
		for _, key := range s.delta.Gone {
			events = append(events, snapshot.Displace(s.source, key))
		}
	}
	events = append(events, translated(snapshot.GatewayAPI, p.gateways)...)
	events = append(events, translated(snapshot.Ingress, p.ingresses)...)
	if len(events) > 0 {
		snap = p.flush(&events, total)
	}
	p.publish(snap)
	if snap.Version == last.Version() {
		return
	}
	p.metrics.triggered(total)
	total.To = snap.Version
	next := last.Next(snap, total)
	p.view.Store(next)
	p.metrics.initTime.Observe(time.Since(begin).Seconds())
	push(served{next})
	p.log.Info("push", "version", snap.Version, "objects", len(total.Objects), "took", time.Since(begin))
}

// translated are the events of what objects of a foreign API have come to since the last time.
func translated(source string, t *derived.Translator) []snapshot.Event {
	made, gone := t.Translate()
	var events []snapshot.Event
	for _, o := range made {
		events = append(events, snapshot.Set(source, o))
	}
	for _, key := range gone {
		events = append(events, snapshot.Delete(source, key))
	}
	return events
}

// objectStatus is what became of an object of a foreign API, in JSON; nil for one that has no status here.
func (p *pipeline) objectStatus(k config.Key) json.RawMessage {
	for _, t := range []*derived.Translator{p.gateways, p.ingresses} {
		if t.Owns(k.Kind) {
			return t.Status(k)
		}
	}
	return nil
}

func (p *pipeline) flush(events *[]snapshot.Event, total *model.Change) *model.Snapshot {
	snap, change := p.builder.Update(*events...)
	total.Merge(change)
	*events = nil
	return snap
}

// setMesh applies the events before it, and then the mesh's settings with the trust domains of the authority: those that certificates may still be of are
// aliases, and where no settings could be read yet it knows the mesh's own.
func (p *pipeline) setMesh(events *[]snapshot.Event, total *model.Change) *model.Snapshot {
	p.flush(events, total)
	var m model.Mesh
	if p.given != nil {
		m = *p.given
	} else {
		m = *model.DefaultMesh()
		m.TrustDomain = cmp.Or(p.authority.TrustDomain(), m.TrustDomain)
	}
	for _, domain := range p.authority.FormerTrustDomains() {
		if domain != m.TrustDomain && !slices.Contains(m.TrustDomainAliases, domain) {
			m.TrustDomainAliases = append(slices.Clone(m.TrustDomainAliases), domain)
		}
	}
	snap, change := p.builder.SetMesh(&m)
	total.Merge(change)
	return snap
}

// took notes the batches that the view has now.
func (p *pipeline) took(pending []sourced) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range pending {
		p.taken[s.source] = max(p.taken[s.source], s.batch.Number)
	}
}

// takenIn returns the version of a view that has a source's batch of that number and all before, false when there is none yet.
func (p *pipeline) takenIn(source string, number uint64) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view.Load().Version(), p.taken[source] >= number
}

// publish makes counts and problems visible.
func (p *pipeline) publish(snap *model.Snapshot) {
	p.metrics.services.Set(float64(snap.Services.Len()))
	p.metrics.virtualServices.Set(float64(snap.VirtualServices.Len()))
	found := p.builder.Problems()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = found
}

func (p *pipeline) noteMesh(given config.File, problems []snapshot.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mesh, p.meshProblems = given, problems
}

// answered reports whether something is known of all names, be it that they have no answer.
func answered(names []string, known map[string]follow.Answer[[]string]) bool {
	return !slices.ContainsFunc(names, func(n string) bool { _, ok := known[n]; return !ok })
}

// note notes what has been answered, and returns the answers of those that have one.
func (p *pipeline) note(into *map[string]follow.Answer[[]string], all map[string]follow.Answer[[]string]) map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	*into = all
	out := map[string][]string{}
	for url, a := range all {
		if len(a.Value) > 0 {
			out[url] = a.Value
		}
	}
	return out
}

// meshConfig returns the mesh configuration in force as it was given; nil for none.
func (p *pipeline) meshConfig() *meshconfig.MeshConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mesh.Data == nil {
		return nil
	}
	in, err := config.ParseMeshConfig(p.mesh)
	if err != nil {
		panic("BUG: the mesh configuration in force cannot be read: " + err.Error())
	}
	return in
}

// problems returns what in the current objects has no effect.
func (p *pipeline) problems() []snapshot.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.meshProblems)
	for _, url := range slices.Sorted(maps.Keys(p.bundles)) {
		if a := p.bundles[url]; a.Problem != "" {
			origin := model.Origin{Kind: "MeshConfig", Name: "mesh", File: p.mesh.Name, Field: "caCertificates.spiffeBundleUrl"}
			out = append(out, snapshot.Problem{Origin: origin, Text: fmt.Sprintf("%d roots are known; the last question had no answer: %s", len(a.Value), a.Problem)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		if a := p.names[name]; a.Problem != "" {
			out = append(out, snapshot.Problem{Origin: model.Origin{Kind: "MeshNetworks", Name: "mesh", Field: "gateways.address"},
				Text: fmt.Sprintf("%s: %d addresses are known; the last look-up had no answer: %s", name, len(a.Value), a.Problem)})
		}
	}
	return append(out, p.found...)
}
