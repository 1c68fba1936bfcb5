using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>A model of images with a form in Hugging Face's checkpoints.</summary>
public abstract class HubImageModel : ImageModel, IHubModel
{
    private readonly HubNames names;

    private protected HubImageModel(TraceCapabilities capabilities, long channels, HubNames names)
        : base(capabilities, channels) => this.names = names;

    /// <inheritdoc/>
    public string Architecture => names.Architecture;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public JsonObject? ConfigExtras { get; set; }

    /// <inheritdoc/>
    public abstract JsonObject ToHubConfig();

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, Tensor> HubParameters() => HubTensors.Of(this, ToHubName);

    /// <summary>What precedes the encoder's names in checkpoints.</summary>
    private protected string Prefix => names.Prefix;

    /// <summary>The checkpoint's name of one of the model's parameters or buffers.</summary>
    private protected virtual string ToHubName(string own) => names.ToHub(own);

    /// <inheritdoc/>
    public string CanonicalName(string name) => names.Canonical(name);

    /// <inheritdoc/>
    public bool IsHarmlessExtra(string name) => names.IsHarmlessExtra(name);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> TiedNames => HubNames.NothingTied;
}
