# For Packer 1.7 and later, which fetches the plugin by `packer init`; 1.6.6 has it built in and does not know this block.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0, < 2.0.0"
    }
  }
}
