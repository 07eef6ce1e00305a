package cel

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// checker refuses what is no function, and leads those that are ours, or bounded by us, to their implementations.
type checker struct {
	functions map[string]*decls.FunctionDecl
	refuse    func(group, name string) error
	left      int // nodes that the tree may still have
	factory   ast.ExprFactory
}

// comprehensions are macros of the language that Envoy has switched off: what they cost does not show in an expression.
var comprehensions = map[string]bool{"all": true, "exists": true, "exists_one": true, "existsOne": true, "map": true, "filter": true}

// unsupported are functions of Envoy's that are not here.
var unsupported = map[string]string{
	"format":        "what it prints is not bounded by what it is given",
	"strings.quote": "Envoy does not document it",
}

func (c *checker) check(e ast.Expr, depth int) error {
	if c.left--; c.left < 0 {
		return fmt.Errorf("more than %d parts", maxNodes)
	}
	if depth > maxTree {
		return fmt.Errorf("nested more than %d deep", maxTree)
	}
	switch e.Kind() {
	case ast.CallKind:
		return c.call(e, depth)
	case ast.SelectKind:
		s := e.AsSelect()
		if err := c.supported(s.Operand(), s.FieldName()); err != nil {
			return err
		}
		return c.check(s.Operand(), depth+1)
	case ast.ListKind:
		return c.all(e.AsList().Elements(), depth)
	case ast.MapKind:
		for _, x := range e.AsMap().Entries() {
			if k := x.AsMapEntry().Key(); k.Kind() == ast.LiteralKind && !isKey(k.AsLiteral()) {
				return fmt.Errorf("a %s cannot be the key of a map", k.AsLiteral().Type().TypeName())
			}
			if err := c.all([]ast.Expr{x.AsMapEntry().Key(), x.AsMapEntry().Value()}, depth); err != nil {
				return err
			}
		}
	case ast.StructKind:
		return fmt.Errorf("%s{} is not supported: messages cannot be made", e.AsStruct().TypeName())
	case ast.ComprehensionKind:
		return errors.New("comprehensions are switched off, as in Envoy")
	}
	return nil
}

// isKey reports whether a literal may be the key of a map. Others have Envoy print nothing.
func isKey(v ref.Val) bool {
	switch v.(type) {
	case types.Bool, types.Int, types.Uint, types.String:
		return true
	}
	return false
}

// supported asks about an attribute of a group that is a name.
func (c *checker) supported(group ast.Expr, name string) error {
	if group.Kind() != ast.IdentKind || c.refuse == nil {
		return nil
	}
	return c.refuse(group.AsIdent(), name)
}

func (c *checker) all(list []ast.Expr, depth int) error {
	for _, e := range list {
		if err := c.check(e, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) call(e ast.Expr, depth int) error {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() {
		if whole := qualified(call.Target()) + "." + name; c.exists(whole, len(args)) || unsupported[whole] != "" {
			name = whole
		} else {
			args = append([]ast.Expr{call.Target()}, args...)
		}
	}
	if why, no := unsupported[name]; no {
		return fmt.Errorf("%s() is not supported: %s", name, why)
	}
	if !c.exists(name, len(args)) {
		if comprehensions[name] {
			return fmt.Errorf("%s() is switched off, as are all comprehensions in Envoy", name)
		}
		return fmt.Errorf("there is no function %s() of %d arguments", name, len(args))
	}
	if name == operators.Index && args[1].Kind() == ast.LiteralKind {
		if key, ok := args[1].AsLiteral().(types.String); ok {
			if err := c.supported(args[0], string(key)); err != nil {
				return err
			}
		}
	}
	if err := c.all(args, depth); err != nil {
		return err
	}
	return c.lead(e, name, args)
}

// lead makes a call of a function of the language one of our own where there is one. Users cannot write such a name.
func (c *checker) lead(e ast.Expr, name string, args []ast.Expr) error {
	own := ownPrefix + name
	if _, ok := c.functions[own]; !ok {
		return nil
	}
	if i, ok := patternArgument[name]; ok && args[i].Kind() == ast.LiteralKind {
		if text, ok := args[i].AsLiteral().(types.String); ok {
			p, err := newPattern(string(text), name)
			if err != nil {
				return err
			}
			args[i].SetKindCase(c.factory.NewLiteral(args[i].ID(), p))
		}
	}
	e.SetKindCase(c.factory.NewCall(e.ID(), own, args...))
	return nil
}

// exists reports whether there is a function of so many arguments, a receiver included.
func (c *checker) exists(name string, arguments int) bool {
	f := c.functions[name]
	if f == nil {
		return false
	}
	for _, o := range f.OverloadDecls() {
		if len(o.ArgTypes()) == arguments {
			return true
		}
	}
	return false
}

// qualified is the dotted name that an expression is, "" for all others.
func qualified(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		if left := qualified(e.AsSelect().Operand()); left != "" && !e.AsSelect().IsTestOnly() {
			return left + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}
