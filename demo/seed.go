package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/statedir"
	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/samples/shop"
)

// seed fills config/ with the shop's objects when nobody has put anything there yet.
func (s *Shop) seed(p localmesh.Place) error {
	empty, err := holdsNoFile(statedir.ConfigDir(p.StateDir))
	if err != nil {
		return err
	}
	s.fresh = empty
	files := []config.File{p.GatewayService()}
	if empty {
		paths, err := fs.Glob(shop.FS, "base/*.yaml")
		if err != nil {
			return fmt.Errorf("the shop's manifests: %w", err)
		}
		for _, path := range paths {
			text, err := shop.ForBlock(path, p.Block)
			if err != nil {
				return fmt.Errorf("the shop's manifests: %w", err)
			}
			files = append(files, config.File{Name: path, Data: text})
		}
	}
	return p.WriteConfig(files, shopNamespace)
}

// holdsNoFile ignores hidden files, such as the lock of the folder's writers.
func holdsNoFile(dir string) (bool, error) {
	empty := true
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(path)[0] != '.' {
			empty = false
			return fs.SkipAll
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for configuration: %w", err)
	}
	return empty, nil
}
