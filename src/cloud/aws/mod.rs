//! The real cloud: the AWS SDK behind our traits.
