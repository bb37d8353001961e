# Bakes an AMI on which the agent looks after an orchestrator from its first boot. README.md has the commands.
#
# One file, since Packer 1.6.6 reads either this one or a folder with plugins.pkr.hcl in it, which it does not understand. For the same reason
# nothing here is younger: no `data` blocks, no `imds_support`.
packer {
  required_version = ">= 1.6.6"
}

variable "package" {
  type        = string
  description = "Bellrock's .deb, of the architecture of the image."
}

variable "version" {
  type        = string
  description = "The version that the .deb has, without the Debian revision; names the image. Another one in the .deb fails the bake."
}

variable "architecture" {
  type    = string
  default = "x86_64"
  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture has to be x86_64 or arm64."
  }
}

variable "region" {
  type = string
}

variable "instance_type" {
  type        = string
  default     = ""
  description = "Without it, a small one of the architecture."
}

variable "base_image_owner" {
  type        = string
  default     = "136693071363"
  description = "Account that owns the base image, \"self\" or an alias. Debian's unless said. Demanded of base_image_id too."
}

variable "base_image_name" {
  type        = string
  default     = ""
  description = "Filter by name, of which the newest image is taken; without it, Debian 12 of the architecture."
}

variable "base_image_id" {
  type        = string
  default     = ""
  description = "This image instead, whatever its name."
}

variable "ssh_username" {
  type        = string
  default     = "admin"
  description = "User of the base image who may sudo without a password."
}

variable "config" {
  type        = string
  default     = ""
  description = "What becomes /etc/bellrock/bellrock.toml; without it, the package's own, which is a dry run."
}

variable "drop_ins" {
  type        = list(string)
  default     = []
  description = "Files for /etc/systemd/system/bellrock.service.d, such as a fitted process.conf."
}

variable "orchestrator_debs" {
  type        = list(string)
  default     = []
  description = "Package files of the orchestrator."
}

variable "orchestrator_packages" {
  type        = list(string)
  default     = []
  description = "Packages of the orchestrator from the archives that the base image knows, as apt-get takes them: NAME or NAME=VERSION."
}

variable "orchestrator_unit" {
  type        = string
  default     = ""
  description = "The orchestrator's unit, which is ordered after the agent. Not for kind = \"embedded\" or \"process\"."
}

variable "encrypt" {
  type    = bool
  default = true
}

variable "kms_key_id" {
  type        = string
  default     = null
  description = "Key of the image's snapshots; without it the account's default for EBS, under which an image cannot be shared."
}

variable "share_with" {
  type        = list(string)
  default     = []
  description = "Accounts that may launch the image and copy its snapshots. An encrypted image needs a kms_key_id that they may use."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "Where the bake runs; without it, in the default VPC."
}

# How the machine is reached: a bastion, a port that is forwarded, a key that is there already.
variable "ssh_host" {
  type    = string
  default = null
}

variable "ssh_from" {
  type        = list(string)
  default     = ["0.0.0.0/0"]
  description = "From where the machine's port for ssh is open while it is baked."
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "ssh_keypair_name" {
  type        = string
  default     = null
  description = "Key pair of EC2 that ssh_private_key_file belongs to; without it a temporary one, which Packer 1.6.6 makes of a kind that newer images refuse."
}

variable "ssh_private_key_file" {
  type    = string
  default = null
}

variable "ec2_endpoint" {
  type        = string
  default     = ""
  description = "An emulator instead of EC2; nothing is checked against AWS then."
}

locals {
  debian   = { x86_64 = "debian-12-amd64-*", arm64 = "debian-12-arm64-*" }
  small    = { x86_64 = "t3.small", arm64 = "t4g.small" }
  by_name  = { name = var.base_image_name != "" ? var.base_image_name : local.debian[var.architecture] }
  by_id    = { "image-id" = var.base_image_id }
  uploaded = "/tmp/bellrock-bake"
  emulated = var.ec2_endpoint != ""
}

source "amazon-ebs" "bellrock" {
  region        = var.region
  instance_type = var.instance_type != "" ? var.instance_type : local.small[var.architecture]
  subnet_id     = var.subnet_id

  source_ami_filter {
    filters = merge(
      { architecture = var.architecture, "root-device-type" = "ebs", "virtualization-type" = "hvm" },
      var.base_image_id != "" ? local.by_id : local.by_name,
    )
    owners      = [var.base_image_owner]
    most_recent = true
  }

  ami_name        = "bellrock-${var.version}-${var.architecture}-${formatdate("YYYYMMDD-hhmmss", timestamp())}"
  ami_description = "Bellrock ${var.version} on {{ .SourceAMIName }}"
  encrypt_boot    = var.encrypt
  kms_key_id      = var.kms_key_id
  ami_users       = var.share_with
  snapshot_users  = var.share_with
  tags = {
    Name                    = "bellrock ${var.version}"
    "bellrock:version"      = var.version
    "bellrock:base-image"   = "{{ .SourceAMI }}"
    "bellrock:orchestrator" = join(" ", concat(var.orchestrator_packages, [for deb in var.orchestrator_debs : basename(deb)]))
  }
  run_tags        = { Name = "bake of bellrock ${var.version}" }
  run_volume_tags = { Name = "bake of bellrock ${var.version}" }

  communicator              = "ssh"
  ssh_username              = var.ssh_username
  ssh_host                  = var.ssh_host
  ssh_port                  = var.ssh_port
  ssh_keypair_name          = var.ssh_keypair_name
  ssh_private_key_file      = var.ssh_private_key_file
  ssh_timeout               = "10m"
  ssh_clear_authorized_keys = true

  temporary_security_group_source_cidrs = var.ssh_from

  # An hour for the image and its encrypted copy.
  aws_polling {
    delay_seconds = local.emulated ? 1 : 15
    max_attempts  = 240
  }

  custom_endpoint_ec2        = var.ec2_endpoint
  skip_region_validation     = local.emulated
  skip_credential_validation = local.emulated
  skip_metadata_api_check    = local.emulated
}

build {
  sources = ["source.amazon-ebs.bellrock"]

  provisioner "shell" {
    inline = ["install -d -m 700 ${local.uploaded} ${local.uploaded}/debs ${local.uploaded}/drop-ins"]
  }
  provisioner "file" {
    sources     = concat([var.package], var.orchestrator_debs)
    destination = "${local.uploaded}/debs/"
  }
  provisioner "file" {
    sources     = concat(["${path.root}/provision/image.conf"], var.drop_ins)
    destination = "${local.uploaded}/drop-ins/"
  }
  provisioner "file" {
    source      = var.config != "" ? var.config : "${path.root}/../systemd/debian/bellrock.toml"
    destination = "${local.uploaded}/bellrock.toml"
  }

  provisioner "shell" {
    scripts = [
      "${path.root}/provision/install",
      "${path.root}/provision/smoke",
      # The last: after it the machine is nobody's.
      "${path.root}/provision/seal",
    ]
    environment_vars = [
      "UPLOADED=${local.uploaded}",
      "VERSION=${var.version}",
      "ORCHESTRATOR_PACKAGES=${join(" ", var.orchestrator_packages)}",
      "ORCHESTRATOR_UNIT=${var.orchestrator_unit}",
    ]
    execute_command = "sudo -n env {{ .Vars }} sh {{ .Path }}"
    timeout         = "30m"
  }

  post-processors {
    post-processor "manifest" {
      output     = "bellrock-image.json"
      strip_path = true
    }
    post-processor "shell-local" {
      environment_vars = ["MANIFEST=bellrock-image.json", "EC2_ENDPOINT=${var.ec2_endpoint}"]
      script           = "${path.root}/demand-imdsv2"
    }
  }
}
