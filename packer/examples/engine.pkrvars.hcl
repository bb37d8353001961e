# Bellrock runs the pipelines itself, on Graviton.
package      = "target/debian/bellrock_0.1.0-1_arm64.deb"
version      = "0.1.0"
architecture = "arm64"
region       = "eu-west-1"
