// Gloo's headers are not among libtorch's; these declare what ProcessGroupGloo.hpp names of them, and nothing more (see c10d.cpp).
#pragma once
