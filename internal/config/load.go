package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// LoadLocal reads the local layer: a file, or every *.yml and *.yaml of a
// directory in the order of their names, with the PATRONI_* variables of
// environ (as os.Environ gives them) on top. Without a path, or when nothing
// is there, PATRONI_CONFIGURATION or the variables alone are used. It does not
// ask for what only the agent needs: CheckAgent and CheckDCS do.
// Every error about the content is *Error.
func LoadLocal(path string, environ []string) (*Local, error) {
	l, err := readLocal(path, environ)
	if err != nil {
		return nil, err
	}
	findings, err := checkLocal(l.tree)
	if err != nil {
		return nil, err
	}
	l.Warnings = append(l.Warnings, findings...)
	l.build()
	return l, nil
}

// readLocal reads the layer without checking it: the tree and what the
// reading itself found.
func readLocal(path string, environ []string) (*Local, error) {
	env := readEnvironment(environ)
	var record []overruled
	root, missing, err := readPath(path, &record)
	if err != nil {
		return nil, err
	}
	switch {
	case root != nil:
		mergeNode(root, env.root, &record)
	case env.whole != "":
		if root, err = decodeMap([]byte(env.whole), wholeConfiguration); err != nil {
			return nil, err
		}
	case len(env.root.Fields) > 0:
		root = &Node{Kind: MapNode, Fields: env.root.Fields}
	case missing:
		return nil, &Error{File: path, Message: "no such file or directory, and the environment says nothing either", Remedy: "name the configuration with -c"}
	default:
		return nil, &Error{Message: "Config is empty.", Remedy: "name the configuration with -c"}
	}
	settleFalsy(root)
	l := &Local{Path: path, tree: root, environ: env.values, overruled: record}
	l.Warnings = append(l.Warnings, root.Warnings...)
	l.Warnings = append(l.Warnings, env.findings...)
	if missing {
		l.Path = ""
		l.Warnings = append(l.Warnings, Finding{File: path, Message: "no such file or directory; the environment alone is used"})
	}
	l.Tree, _ = root.Value().(map[string]any)
	return l, nil
}

// readPath returns the merged map of a file or directory; nil and missing
// when there is none.
func readPath(path string, record *[]overruled) (root *Node, missing bool, err error) {
	if path == "" {
		return nil, false, nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, true, nil
	case err != nil:
		return nil, false, fmt.Errorf("read configuration: %w", err)
	case info.IsDir():
		root, err = readDirectory(path, record)
	case info.Mode().IsRegular():
		root, err = readFile(path)
	default:
		err = &Error{File: path, Message: "invalid config path: neither a file nor a directory"}
	}
	return root, false, err
}

func readFile(path string) (*Node, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return decodeMap(data, path)
}

func decodeMap(data []byte, file string) (*Node, error) {
	root, err := DecodeYAML(data, file)
	if err != nil {
		return nil, err
	}
	if root.Kind != MapNode {
		return nil, &Error{File: file, Line: root.Pos.Line, Message: "invalid config file: expected keys with values, got " + root.describe()}
	}
	return root, nil
}

// readDirectory merges the files; one that is no YAML file is not looked at.
func readDirectory(path string, record *[]overruled) (*Node, error) {
	files, err := yamlFiles(path)
	if err != nil {
		return nil, err
	}
	root := &Node{Kind: MapNode}
	for _, file := range files {
		one, err := readFile(file)
		if err != nil {
			return nil, err
		}
		mergeNode(root, one, record)
		root.Warnings = append(root.Warnings, one.Warnings...)
	}
	return root, nil
}

// overruled is a value that a later source replaced.
type overruled struct {
	path  []string
	value *Node
	pos   Position
	by    Position
}

// mergeNode merges maps recursively; scalars and lists replace, null deletes
// (contract: config.md 1.1). What is replaced or deleted is added to record,
// unless that is nil.
func mergeNode(into, over *Node, record *[]overruled) { mergeBelow(into, over, record, nil) }

func mergeBelow(into, over *Node, record *[]overruled, path []string) {
	for _, f := range over.Fields {
		at := append(slices.Clone(path), f.Key)
		i := into.index(f.Key)
		if i >= 0 && f.Value.Kind == MapNode && into.Fields[i].Value.Kind == MapNode {
			mergeBelow(into.Fields[i].Value, f.Value, record, at)
			continue
		}
		if i >= 0 && record != nil {
			*record = append(*record, overruled{at, into.Fields[i].Value, into.Fields[i].Pos, f.Pos})
		}
		switch {
		case !f.Value.IsNull():
			into.setField(f)
		case i >= 0:
			into.Fields = slices.Delete(into.Fields, i, i+1)
		}
	}
}

// settleFalsy makes empty maps of top-level sections that are null, false, 0,
// ” or [], and takes such plain keys away.
func settleFalsy(root *Node) {
	root.Fields = slices.DeleteFunc(root.Fields, func(f Field) bool {
		key, known := find(localKeys, f.Key)
		return known && key.Kind != KindMap && !truthy(f.Value.Value())
	})
	for i, f := range root.Fields {
		if key, known := find(localKeys, f.Key); known && key.Kind == KindMap && !truthy(f.Value.Value()) {
			root.Fields[i].Value = &Node{Kind: MapNode, Pos: f.Value.Pos}
		}
	}
}
