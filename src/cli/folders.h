// Where things are: the XDG folders, or all below FATHOM_HOME; and models by path or by name. Thread-safe as long as
// nobody changes the environment.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace fathom {

/// $FATHOM_HOME/models, else $XDG_DATA_HOME/fathom/models, else ~/.local/share/fathom/models.
std::filesystem::path models_folder();
/// $FATHOM_HOME, else $XDG_CONFIG_HOME/fathom, else ~/.config/fathom. Holds config.toml.
std::filesystem::path config_folder();
/// $FATHOM_HOME/state, else $XDG_STATE_HOME/fathom, else ~/.local/state/fathom. Holds the chat's history.
std::filesystem::path state_folder();
/// $FATHOM_HOME/cache/repack, else $XDG_CACHE_HOME/fathom/repack, else ~/.cache/fathom/repack. Holds repacked weights:
/// all in it can be made again.
std::filesystem::path repack_folder();
/// The same with tokens: encoded training texts, which can be made again too.
std::filesystem::path token_cache_folder();

/// A GGUF file or a Hugging Face folder: `model` itself where it is a path that exists; else OWNER/NAME in the models
/// folder, and there the folder, or the only model file in it (the first part of a split one); or OWNER/NAME:FILE as
/// `fathom pull` takes it. Throws Error that lists what is there, or says that a pull of it is not finished.
std::filesystem::path find_model(const std::string& model);

/// OWNER/NAME folders and GGUF files of the models folder, sorted, as they can be given to find_model.
std::vector<std::string> installed_models();

}  // namespace fathom
