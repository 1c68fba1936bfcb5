namespace AttentionDistillation.Tensors;

/// <summary>A file is not a valid safetensors file, or a checkpoint is incomplete. The message says what is wrong and where.</summary>
public sealed class SafeTensorsException(string message, Exception? inner = null) : IOException(message, inner);
