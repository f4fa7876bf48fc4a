// Prints the file descriptors that the published Go bindings carry, as one serialized FileDescriptorSet.
//
// It exists so that the wire test compares our .proto files with what other programs are really compiled from.
package main

import (
	"log"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	files := []protoreflect.FileDescriptor{
		csi.File_csi_proto,
		registration.File_staging_src_k8s_io_kubelet_pkg_apis_pluginregistration_v1_api_proto,
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range files {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	out, err := proto.Marshal(set)
	if err != nil {
		log.Fatalf("cannot serialize the descriptors: %v", err)
	}
	if _, err := os.Stdout.Write(out); err != nil {
		log.Fatalf("cannot write the descriptors: %v", err)
	}
}
