"""Every CNN classifier of timm: the family, and the roads its pretrained weights come by."""
