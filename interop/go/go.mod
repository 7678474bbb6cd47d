module github.com/keyway-secrets/keyway/interop/go

go 1.26.8

require (
	connectrpc.com/connect v1.19.1
	github.com/hashicorp/yamux v0.1.2
	google.golang.org/protobuf v1.36.12
)
