"""The lesson on transfer learning."""
