# Puts the bytes of web/dist into fathom_server: a table of paths and what the assembler's .incbin brings in.
# The files are committed, so that nothing but a compiler is needed; src/server/app/web_data.h is the interface.
set(web_dist ${CMAKE_SOURCE_DIR}/web/dist)
file(GLOB_RECURSE web_paths CONFIGURE_DEPENDS RELATIVE ${web_dist} ${web_dist}/*)
list(SORT web_paths)
set(web_code "// Made by cmake/web_files.cmake.\n#include \"server/app/web_data.h\"\n")
set(web_table "")
set(web_count 0)
foreach(path IN LISTS web_paths)
  set(name fathom_web_${web_count})
  string(APPEND web_code "extern \"C\" const char ${name}[], ${name}_end[];\n"
    "__asm__(\".pushsection .rodata\\n.global ${name}, ${name}_end\\n${name}:\\n\"\n"
    "        \".incbin \\\"${web_dist}/${path}\\\"\\n${name}_end:\\n.byte 0\\n.popsection\\n\");\n")
  string(APPEND web_table "      {\"/${path}\", {${name}, static_cast<size_t>(${name}_end - ${name})}},\n")
  math(EXPR web_count "${web_count} + 1")
endforeach()
string(APPEND web_code "std::span<const fathom::WebData> fathom::web_data() {\n"
  "  static const WebData kData[] = {\n${web_table}  };\n  return kData;\n}\n")
set(web_source ${CMAKE_CURRENT_BINARY_DIR}/web_data.cc)
file(CONFIGURE OUTPUT ${web_source} CONTENT "${web_code}" @ONLY)
list(TRANSFORM web_paths PREPEND ${web_dist}/)
set_source_files_properties(${web_source} PROPERTIES OBJECT_DEPENDS "${web_paths}")
target_sources(fathom_server PRIVATE ${web_source})
