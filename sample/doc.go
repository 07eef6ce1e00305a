// Package sample is the applications that `lateen demo`, samples/bookinfo and the end-to-end tests run inside the mesh. The shop: webapp
// calls catalog and forum, forum calls users, and tcp-echo greets before it is spoken to. Bookinfo: productpage calls details and
// reviews, and versions 2 and 3 of reviews call ratings. They are ordinary net/http servers that know of the mesh only what any
// program does: HTTP_PROXY, and that trace headers are passed on.
//
// Each app can be told at run time to fail or to be slow, and to show the requests that it has seen, under /shop/; control.go is the
// client of that. Not a part of the mesh: no mesh package may import it; cli, demo and tests do.
package sample
