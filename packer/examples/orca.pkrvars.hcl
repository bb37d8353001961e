# Orca beside the agent, in an image of our own, shared with the account that runs it.
package               = "target/debian/bellrock_0.1.0-1_amd64.deb"
version               = "0.1.0"
architecture          = "x86_64"
region                = "eu-west-1"
base_image_owner      = "self"
base_image_name       = "golden-debian-12-*"
config                = "packer/examples/orca.toml"
# To stop and start orca.service. Where the image has polkit: unit.conf, and systemd/bellrock.rules in /etc/polkit-1/rules.d.
drop_ins              = ["systemd/bellrock.service.d/root.conf"]
orchestrator_packages = ["spinnaker-orca"]
orchestrator_unit     = "orca.service"
kms_key_id            = "alias/images"
share_with            = ["123456789012"]
