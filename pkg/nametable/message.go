package nametable

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// TypeURL is the name table's among the types of discovery.
const TypeURL = "type.googleapis.com/istio.networking.nds.v1.NameTable"

// Kubernetes is the Registry of names that also have short forms.
const Kubernetes = "Kubernetes"

// Info is what is known of a name: the message NameTable.NameInfo.
type Info struct {
	// IPs are the addresses, of either family.
	IPs []string
	// Registry says where the name comes from; of Kubernetes, ShortName and Namespace are its parts.
	Registry, ShortName, Namespace string
}

// Table is the message NameTable.
type Table struct {
	// Names by host, without a final dot, "*." in front of a wildcard.
	Names map[string]Info
	// Own, where there is one, is of the host that the resource is named after. Control planes send it to agents that take names one by one.
	Own *Info
}

// Field numbers of NameTable, of its map's entries, and of NameInfo.
const (
	tableField, ownField                                = 1, 2
	entryKey, entryValue                                = 1, 2
	ipsField, registryField, shortField, namespaceField = 1, 2, 3, 4
)

// Message returns the table as a message. Its JSON has the names of Istio's proto.
func (t *Table) Message() proto.Message {
	table := descriptors()
	fields := table.Fields()
	m := dynamicpb.NewMessage(table)
	if len(t.Names) > 0 {
		entries := m.Mutable(fields.ByNumber(tableField)).Map()
		for host, info := range t.Names {
			entries.Set(protoreflect.ValueOfString(host).MapKey(), protoreflect.ValueOfMessage(info.message(table)))
		}
	}
	if t.Own != nil {
		m.Set(fields.ByNumber(ownField), protoreflect.ValueOfMessage(t.Own.message(table)))
	}
	return m
}

func (i *Info) message(table protoreflect.MessageDescriptor) protoreflect.Message {
	desc := table.Messages().ByName("NameInfo")
	m := dynamicpb.NewMessage(desc)
	if len(i.IPs) > 0 {
		ips := m.Mutable(desc.Fields().ByNumber(ipsField)).List()
		for _, ip := range i.IPs {
			ips.Append(protoreflect.ValueOfString(ip))
		}
	}
	for number, text := range map[protoreflect.FieldNumber]string{registryField: i.Registry, shortField: i.ShortName, namespaceField: i.Namespace} {
		if text != "" {
			m.Set(desc.Fields().ByNumber(number), protoreflect.ValueOfString(text))
		}
	}
	return m
}

// descriptors returns NameTable's. Nobody publishes Istio's generated types without all of Istio, and generated ones of our own would register themselves.
var descriptors = sync.OnceValue(func() protoreflect.MessageDescriptor {
	text := func(name string, number int32, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, JsonName: &name, Number: &number, Label: &label, Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()}
	}
	message := func(name, of string, number int32, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		f := text(name, number, label)
		f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), &of
		return f
	}
	const one, many = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	const info, entry = ".istio.networking.nds.v1.NameTable.NameInfo", ".istio.networking.nds.v1.NameTable.TableEntry"
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("nds.proto"), Package: proto.String("istio.networking.nds.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:  proto.String("NameTable"),
			Field: []*descriptorpb.FieldDescriptorProto{message("table", entry, tableField, many), message("name_info", info, ownField, one)},
			NestedType: []*descriptorpb.DescriptorProto{
				{
					Name: proto.String("NameInfo"),
					Field: []*descriptorpb.FieldDescriptorProto{
						text("ips", ipsField, many), text("registry", registryField, one), text("shortname", shortField, one), text("namespace", namespaceField, one),
					},
				},
				{
					Name:    proto.String("TableEntry"),
					Field:   []*descriptorpb.FieldDescriptorProto{text("key", entryKey, one), message("value", info, entryValue, one)},
					Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
				},
			},
		}},
	}, nil)
	if err != nil {
		panic(fmt.Sprintf("BUG: NameTable's descriptor: %v", err))
	}
	return file.Messages().ByName("NameTable")
})
