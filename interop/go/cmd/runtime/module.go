package main

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/keyway-secrets/keyway/interop/go/internal/expect"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/accesscontrolv1"
)

// requester is the requester of the calls to the module.
func requester() *accesscontrolv1.Requester {
	return &accesscontrolv1.Requester{
		Pid: proto.Int32(4242), Name: proto.String("curl"), AbsoluteBinaryPath: proto.String("/usr/bin/curl"),
		SignedByDocker: proto.Bool(false),
		SigningInfo: &accesscontrolv1.Requester_Linux{Linux: &accesscontrolv1.LinuxSigningInfo{
			Signers: []*accesscontrolv1.LinuxSigningInfo_Signer{{CertIssuer: proto.String("https://issuer.example")}},
		}},
	}
}

// checkModule checks allowed and denied requests.
func (d *driver) checkModule() {
	d.checkAccess("demo/hit", accesscontrolv1.Decision_DECISION_ALLOW)
	d.checkAccess("denied/x", accesscontrolv1.Decision_DECISION_DENY)
	response, err := d.authorize("demo/hit", "other/**")
	d.verify(err)
	d.report.Check(response.GetDecision() == accesscontrolv1.Decision_DECISION_ALLOW, "Authorize gave %v", response)
	d.report.Check(response.GetExpiresAt() != nil, "Authorize gave no expiry, which a Go runtime reads as 1970")
	response, err = d.authorize("demo/hit", "denied/x")
	d.verify(err)
	d.report.Check(response.GetDecision() == accesscontrolv1.Decision_DECISION_DENY, "Authorize gave %v", response)
	_, err = d.authorize()
	d.verify(expect.Code("Authorize without patterns", err, connect.CodeInvalidArgument))
}

func (d *driver) checkAccess(pattern string, want accesscontrolv1.Decision) {
	d.report.Request()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	response, err := service.Call[accesscontrolv1.CheckAccessRequest, accesscontrolv1.CheckAccessResponse](
		ctx, d.plugin.Peer.Client, service.CheckAccess,
		&accesscontrolv1.CheckAccessRequest{Pattern: proto.String(pattern), Requester: requester()})
	d.verify(err)
	d.report.Check(response.GetDecision() == want, "CheckAccess of %s gave %v", pattern, response)
}

func (d *driver) authorize(patterns ...string) (*accesscontrolv1.AuthorizeResponse, error) {
	d.report.Request()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return service.Call[accesscontrolv1.AuthorizeRequest, accesscontrolv1.AuthorizeResponse](
		ctx, d.plugin.Peer.Client, service.ModuleDecides,
		&accesscontrolv1.AuthorizeRequest{Patterns: patterns, Requester: requester()})
}
